"""Labeling in one process against two workers under threads, Dask and Ray: seconds and bytes.

    python -m benchmarks.label_runners [FOLDER] [--boxes 20000] [--shards 2] [--workers 2]

Draws scenes until they hold that many boxes, makes a small encoder from random weights and
labels them with `mal label` four times, each in a store of its own. Prints seconds, the
ratio to one process and the digest of the labels, and fails when digests differ. Start-up
counts: interpreters, Prefect's temporary server, the cluster. On two busy cores about
10 minutes; drawn scenes are kept in FOLDER for the next time.
"""

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from mal_core.config import EncoderConfig, MalConfig
from mal_core.models.checkpoints import save_labeler
from mal_core.models.labeler import build_labeler
from mal_core.processes.files import sha256_file
from mal_core.report.text_tables import text_table
from scenes.write import write_scenes

BOXES_PER_SCENE = 1.8
"""Fewer than drawn scenes have, so that there are enough."""
SCENE_SIDE = 96
ENCODER = EncoderConfig(
    name="vit_tiny_patch16_224",
    options={"embed_dim": 96, "depth": 4, "num_heads": 3, "patch_size": 8},
)
MAL = MalConfig(
    crop_size=64, batch_size=1, max_steps=1, learning_rate=1.0, head_channels=32, head_convs=2
)
ONE = "one process"


def main() -> int:
    """Label with every runner; 1 when the labels differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--boxes", type=int, default=20_000)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (chosen.folder or Path(temporary)).absolute()
        inputs = prepared(folder, chosen.boxes)
        sharded = [f"label_shards={chosen.shards}", f"label_workers={chosen.workers}"]
        kinds: dict[str, list[str]] = {ONE: []}
        kinds |= {
            f"{runner}, {chosen.workers} workers": [f"label_runner={runner}", *sharded]
            for runner in ("threads", "dask", "ray")
        }
        rows: list[dict[str, str]] = []
        digests: set[str] = set()
        for name, settings in kinds.items():
            seconds, digest, boxes = label(folder / "runs", [*inputs, *settings])
            digests.add(digest)
            first = rows[0]["seconds"] if rows else f"{seconds:.1f}"
            ratio = f"{seconds / float(first):.2f}"
            rows.append({"": name, "seconds": f"{seconds:.1f}", "ratio": ratio, "sha256": digest})
            sys.stdout.write(f"{name}: {seconds:.1f} s for {boxes} boxes, {digest}\n")
            sys.stdout.flush()
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    sys.stdout.write(f"{text_table(rows)}\n{os.cpu_count()} cores, load at the end {load}\n")
    return int(len(digests) != 1)


def prepared(folder: Path, boxes: int) -> list[str]:
    """Scenes and a checkpoint, as settings of `mal label`."""
    scenes = folder / f"scenes-{boxes}"
    if not scenes.is_dir():
        num_scenes = round(boxes / BOXES_PER_SCENE)
        write_scenes(scenes, num_train=num_scenes, num_val=1, size=SCENE_SIDE, seed=0)
        keep_boxes(scenes / "train" / "annotations.json", boxes)
    torch.manual_seed(0)
    labeler, report = build_labeler(ENCODER, MAL)
    checkpoint = folder / "checkpoint.pth"
    encoder, mal = dataclasses.asdict(ENCODER), dataclasses.asdict(MAL)
    save_labeler(checkpoint, labeler, encoder=encoder, mal=mal, load_report=str(report))
    train = scenes / "train"
    return [
        f"checkpoint={checkpoint}",
        f"data.train.images={train / 'images'}",
        f"data.train.annotations={train / 'annotations.json'}",
        "data.decode_images=false",
        "mal=tiny_scenes",
        "mal.refinement.enabled=false",
        f"mal.label_crop_size={MAL.crop_size}",
    ]


def keep_boxes(path: Path, boxes: int) -> None:
    """Drop the boxes beyond that many, and the scenes that are left without any."""
    content = json.loads(path.read_text())
    content["annotations"] = content["annotations"][:boxes]
    used = {entry["image_id"] for entry in content["annotations"]}
    content["images"] = [image for image in content["images"] if image["id"] in used]
    path.write_text(json.dumps(content))


def label(folder: Path, settings: list[str]) -> tuple[float, str, int]:
    """Seconds of `mal label` in an empty store, the digest of its labels, and how many."""
    shutil.rmtree(folder, ignore_errors=True)
    variables = {"PREFECT_HOME": str(folder / "prefect"), "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **variables}
    environment.pop("PREFECT_API_URL", None)
    places = [f"store={folder / 'store'}", f"workdir={folder / 'work'}"]
    command = [sys.executable, "-m", "flows.commands.cli", "label", *settings, *places]
    started = time.perf_counter()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    labels = folder / "work" / "labels" / "train.json"
    return seconds, sha256_file(labels), len(json.loads(labels.read_text())["annotations"])


if __name__ == "__main__":
    sys.exit(main())
