"""Labeling of ever more boxes: CPU seconds per box and peak memory of the whole command.

    python -m benchmarks.growth [FOLDER] [--boxes 1000 10000 100000]

The photos of the smallest number of boxes come again under other names (hard links), so that
every run has the same work per box. `mal label` runs on each number in a store of its own, with
a small encoder of random weights; the interpreter, the check of the file, the temporary server
and the score count. On a machine with others on it, CPU seconds say more than seconds do.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.label_runners import prepared
from mal_core.report.text_tables import text_table

IMAGES, ANNOTATIONS = "data.train.images=", "data.train.annotations="


def main() -> int:
    """Label each number of boxes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--boxes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (chosen.folder or Path(temporary)).absolute()
        counts = sorted(chosen.boxes)
        base = prepared(folder, counts[0])
        rows = [_row(count, *label(folder, repeated(folder, base, count))) for count in counts]
    sys.stdout.write(f"{text_table(rows)}\n")
    return 0


def repeated(folder: Path, settings: list[str], boxes: int) -> list[str]:
    """Settings of `mal label` for the same photos and boxes, again and again under other names.

    Args:
        folder: Where the copies go.
        settings: Those for the boxes there are.
        boxes: How many are wanted.
    """
    images = Path(next(one for one in settings if one.startswith(IMAGES))[len(IMAGES) :])
    annotations = images.parent / "annotations.json"
    place = folder / f"repeated-{boxes}"
    if not (place / "annotations.json").is_file():
        shutil.rmtree(place, ignore_errors=True)
        (place / "images").mkdir(parents=True)
        content = again(json.loads(annotations.read_text()), boxes)
        for image in content["images"]:
            (place / "images" / image["file_name"]).hardlink_to(images / image.pop("source"))
        (place / "annotations.json").write_text(json.dumps(content))
    others = [one for one in settings if not one.startswith((IMAGES, ANNOTATIONS))]
    new = [f"{IMAGES}{place / 'images'}", f"{ANNOTATIONS}{place / 'annotations.json'}"]
    return [*others, *new]


def again(content: dict[str, Any], boxes: int) -> dict[str, Any]:
    """The images and boxes of a COCO file, repeated under new ids until there are that many boxes.

    Each image entry says as `source` which file it repeats.
    """
    of_image = defaultdict(list)
    for annotation in content["annotations"]:
        of_image[annotation["image_id"]].append(annotation)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    while len(annotations) < boxes:
        for image in content["images"]:
            found = of_image[image["id"]][: boxes - len(annotations)]
            if not found:
                continue
            number, source = len(images) + 1, image["file_name"]
            name = f"{number:07d}{Path(source).suffix}"
            images.append({**image, "id": number, "file_name": name, "source": source})
            first = len(annotations) + 1
            annotations += [
                {**one, "id": first + place, "image_id": number} for place, one in enumerate(found)
            ]
    return {**content, "images": images, "annotations": annotations}


def label(folder: Path, settings: list[str]) -> tuple[float, float, float]:
    """Seconds, CPU seconds and peak MB of `mal label` in an empty store, with its children."""
    runs = folder / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    environment = {
        **os.environ,
        "PREFECT_HOME": str(runs / "prefect"),
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("PREFECT_API_URL", None)
    places = [f"store={runs / 'store'}", f"workdir={runs / 'work'}"]
    command = [sys.executable, "-m", "flows.commands.cli", "label", *settings, *places]
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    seconds = time.perf_counter() - started
    shutil.rmtree(runs)
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def _row(boxes: int, seconds: float, cpu: float, memory: float) -> dict[str, str]:
    row = {
        "boxes": f"{boxes:,}",
        "seconds": f"{seconds:.0f}",
        "CPU s": f"{cpu:.0f}",
        "CPU ms per box": f"{1000 * cpu / boxes:.2f}",
        "largest process, MB": f"{memory:.0f}",
    }
    sys.stdout.write(f"{row}\n")
    sys.stdout.flush()
    return row


if __name__ == "__main__":
    sys.exit(main())
