"""Reading annotation files of COCO's size: time and memory beside pycocotools' own reading.

    python -m benchmarks.reading                           # 860,000 annotations, 118,000 images
    python -m benchmarks.reading 1000000 100000 --check    # other counts, and `mal check` of them

Every reading runs in a process of its own; its memory is the most that it held at once.
`mal check` reads the headers of as many image files and digests them; it decodes none.
"""

import json
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

WIDTH, HEIGHT = 640, 480
ANNOTATIONS, IMAGES, CLASSES = 860_000, 118_000, 80
LINKS = 10_000
"""Names per image file: file systems allow no more than some ten thousand."""
MAL = "import sys; from flows.commands.cli import main; sys.exit(main())"
MEAN_POINTS = 23
"""Of COCO's polygons: its training file has 520 bytes per annotation."""


def write_file(path: Path, annotations: int, images: int) -> None:
    """A file as COCO's: polygons of two decimals, one in a hundred as RLE, sizes and ids.

    A polygon goes around the middle of its box, as people draw them, not from a random point to
    the next: one in twenty of those has no area, of COCO's one in a thousand, and whether such
    ones cover a pixel takes a drawing.
    """
    rng = random.Random(0)
    with path.open("w") as stream:
        stream.write('{"info": {"year": 2026}, "images": [')
        stream.write(", ".join(_image(number) for number in range(1, images + 1)))
        stream.write('], "annotations": [')
        for number, text in enumerate(_annotations(rng, annotations, images)):
            stream.write(", " * (number > 0) + text)
        classes = [{"id": number, "name": f"class {number}"} for number in range(1, CLASSES + 1)]
        stream.write(f'], "categories": {json.dumps(classes)}}}')


def _image(number: int) -> str:
    entry = {
        "license": 3,
        "file_name": f"{number:012d}.jpg",
        "coco_url": f"http://images.cocodataset.org/train2017/{number:012d}.jpg",
        "height": HEIGHT,
        "width": WIDTH,
        "date_captured": "2013-11-14 11:18:45",
        "id": number,
    }
    return json.dumps(entry)


def _annotations(rng: random.Random, annotations: int, images: int) -> Iterator[str]:
    for number in range(1, annotations + 1):
        w, h = rng.uniform(8, 300), rng.uniform(8, 300)
        x, y = rng.uniform(0, WIDTH - w), rng.uniform(0, HEIGHT - h)
        points = 4 + int(rng.expovariate(1 / (MEAN_POINTS - 4)))
        mask = f"[[{', '.join(_around(rng, points, x + w / 2, y + h / 2, w, h))}]]"
        if number % 100 == 0:
            counts = "[1000, 50, 430, 60, 420, 70, 305170]"
            mask = f'{{"size": [{HEIGHT}, {WIDTH}], "counts": {counts}}}'
            x, y, w, h = 1.0, 1.0, 10.0, 400.0
        yield (
            f'{{"segmentation": {mask}, "area": {w * h / 2:.4f}, "iscrowd": 0, "image_id": '
            f'{rng.randrange(images) + 1}, "bbox": [{x:.2f}, {y:.2f}, {w:.2f}, {h:.2f}], '
            f'"category_id": {rng.randrange(CLASSES) + 1}, "id": {number}}}'
        )


def _around(
    rng: random.Random, points: int, x: float, y: float, w: float, h: float
) -> Iterator[str]:
    """Points of a polygon within a box of that middle and size, px."""
    for angle in sorted(rng.uniform(0, math.tau) for _ in range(points)):
        radius = rng.uniform(0.3, 0.5)
        yield f"{x + w * radius * math.cos(angle):.2f}, {y + h * radius * math.sin(angle):.2f}"


def read_with_pycocotools(path: Path) -> object:
    """What every tool on top of COCO does first."""
    from pycocotools.coco import COCO

    return COCO(str(path))


def read_with_json(path: Path) -> object:
    """Parsing alone."""
    return json.loads(path.read_bytes())


def read_checked(path: Path) -> object:
    """This project's reading: every entry and every mask validated; no image is opened."""
    from mal_core.data.view import read_view

    return read_view(path)


READERS: dict[str, Callable[[Path], object]] = {
    "pycocotools": read_with_pycocotools,
    "json": read_with_json,
    "checked": read_checked,
}


def measure(name: str, path: Path) -> dict[str, Any]:
    """Seconds, CPU seconds and the most memory in MB of one reading, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.reading", "--one", name, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure_check(path: Path, images: int) -> dict[str, Any]:
    """The same of `mal check`, with an image file for every entry and an empty store."""
    folder = path.parent / "images"
    folder.mkdir()
    for number in range(1, images + 1):
        target = folder / f"{number:012d}.jpg"
        if number % LINKS == 1:
            first = target
            Image.new("RGB", (WIDTH, HEIGHT)).save(target)
        else:
            target.hardlink_to(first)
    files = [f"data.train.images={folder}", f"data.train.annotations={path}"]
    command = [sys.executable, "-c", MAL, "check", *files, "data.decode_images=false"]
    start = time.perf_counter()
    subprocess.run(command, check=True, env={**os.environ, "MAL_STORE": str(path.parent / "store")})
    return _figures(time.perf_counter() - start, resource.RUSAGE_CHILDREN)


def _figures(seconds: float, who: int, before: float = 0.0) -> dict[str, float]:
    """Wall time says how busy the machine was, CPU time what the work was."""
    used = resource.getrusage(who)
    cpu = used.ru_utime + used.ru_stime - before
    peak = round(used.ru_maxrss / 1024)
    return {"seconds": round(seconds, 2), "CPU seconds": round(cpu, 2), "MB": peak}


def _one(name: str, path: Path) -> None:
    start, before = time.perf_counter(), time.process_time()
    kept = READERS[name](path)
    figures = _figures(time.perf_counter() - start, resource.RUSAGE_SELF, before)
    print(json.dumps(figures))
    del kept


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--one"]:
        _one(arguments[1], Path(arguments[2]))
        return
    counts = [int(one) for one in arguments if one != "--check"]
    annotations, images = (*counts, *(ANNOTATIONS, IMAGES)[len(counts) :])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "annotations.json"
        write_file(path, annotations, images)
        size = path.stat().st_size / 2**20
        print(f"{annotations:,} annotations on {images:,} images, {size:.0f} MB")
        if "--check" in arguments:  # first: a process counts the most that any child took
            print(f"{'mal check':12s}", measure_check(path, images))
        for name in READERS:
            print(f"{name:12s}", measure(name, path))


if __name__ == "__main__":
    main(sys.argv[1:])
