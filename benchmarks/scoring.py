"""Mask AP of COCO-sized files: ours beside pycocotools' own and faster-coco-eval's.

    python -m benchmarks.scoring [--images 5000] [--objects 36000] [--detections 100000]

Drawn polygons and detections of them at many qualities, 80 classes. Each scorer runs in a process
of its own; processor seconds from parsed files to AP, and the most memory. Equal to 1e-9, or exit
status 1. The last line is what a bootstrap of 1,000 resamples of the images costs on top.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, HEIGHT, CLASSES = 640, 480, 80
RESAMPLES = 1000
SCORERS = ("pycocotools", "faster-coco-eval", "ours")


def write_files(folder: Path, images: int, objects: int, detections: int) -> None:
    """An annotation file of polygons, and detections that miss some of them by a little or more."""
    from mal_core.geometry.masks import segmentation_to_rle

    rng = np.random.default_rng(0)
    entries: list[dict[str, Any]] = []
    results = []
    for number in range(1, objects + 1):
        x, y, w, h = _box(rng)
        entries.append(
            {
                "id": number,
                "image_id": int(rng.integers(1, images + 1)),
                "category_id": int(rng.integers(1, CLASSES + 1)),
                "bbox": [x, y, w, h],
                "area": w * h,
                "iscrowd": 0,
                "segmentation": [_polygon(rng, x, y, w, h)],
            }
        )
    for _ in range(detections):
        near = entries[int(rng.integers(objects))]
        shift = rng.normal(0, 0.08, 4) * np.tile(near["bbox"][2:], 2)
        x, y, w, h = np.array(near["bbox"]) + shift
        w, h = max(w, 4.0), max(h, 4.0)
        mask = segmentation_to_rle([_polygon(rng, x, y, w, h)], HEIGHT, WIDTH)
        counts = mask["counts"]
        results.append(
            {
                "image_id": near["image_id"],
                "category_id": near["category_id"],
                "score": float(rng.random()),
                "segmentation": {
                    "size": [HEIGHT, WIDTH],
                    "counts": counts.decode() if isinstance(counts, bytes) else counts,
                },
            }
        )
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": WIDTH, "height": HEIGHT}
            for i in range(1, images + 1)
        ],
        "annotations": entries,
        "categories": [{"id": i, "name": f"class {i}"} for i in range(1, CLASSES + 1)],
    }
    (folder / "truth.json").write_text(json.dumps(content))
    (folder / "found.json").write_text(json.dumps(results))


def _box(rng: np.random.Generator) -> list[float]:
    w, h = (float(v) for v in np.exp(rng.uniform(np.log(8), np.log(300), 2)))
    return [float(rng.uniform(0, WIDTH - w)), float(rng.uniform(0, HEIGHT - h)), w, h]


def _polygon(rng: np.random.Generator, x: float, y: float, w: float, h: float) -> list[float]:
    angles = np.sort(rng.uniform(0, 2 * np.pi, 20))
    radius = rng.uniform(0.7, 1.0, 20)
    xs = x + w / 2 * (1 + radius * np.cos(angles))
    ys = y + h / 2 * (1 + radius * np.sin(angles))
    return [round(float(v), 2) for pair in zip(xs, ys, strict=True) for v in pair]


def score(name: str, folder: Path) -> dict[str, float]:
    """AP of the files by one scorer, with what it took in this process."""
    started = time.process_time()
    extra = {}
    if name == "ours":
        from mal_core.evaluation.matching import match_predictions
        from mal_core.evaluation.resampling import resampled_metrics

        started = time.process_time()
        matches = match_predictions(folder / "truth.json", folder / "found.json")
        ap = matches.metrics().ap
        spent = time.process_time() - started
        images = len(matches.image_ids)
        weights = np.random.default_rng(0).multinomial(images, [1 / images] * images, RESAMPLES)
        resampled_metrics(matches, weights.T.astype(float), only_ap=True)
        extra["bootstrap"] = time.process_time() - started - spent
    else:
        if name == "pycocotools":
            from pycocotools.coco import COCO
            from pycocotools.cocoeval import COCOeval as Evaluator
        else:
            from faster_coco_eval import COCO
            from faster_coco_eval import COCOeval_faster as Evaluator
        started = time.process_time()
        truth = COCO(str(folder / "truth.json"))
        found = truth.loadRes(str(folder / "found.json"))
        evaluator = Evaluator(truth, found, "segm")
        for step in (evaluator.evaluate, evaluator.accumulate, evaluator.summarize):
            step()
        ap = float(evaluator.stats[0])
        spent = time.process_time() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"ap": float(ap or 0.0), "seconds": spent, "megabytes": memory, **extra}


def main() -> int:
    """Print the table; 1 when the AP differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--objects", type=int, default=36_000)
    parser.add_argument("--detections", type=int, default=100_000)
    parser.add_argument("--score", choices=SCORERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.score:
        told = score(chosen.score, chosen.folder)
        sys.stdout.write(f"\n{json.dumps(told)}\n")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_files(folder, chosen.images, chosen.objects, chosen.detections)
        results = {name: _in_a_process(name, folder) for name in SCORERS}
    first = results[SCORERS[0]]
    for name, told in results.items():
        times = first["seconds"] / told["seconds"]
        line = f"{name:18s} AP {told['ap']:.9f}  {told['seconds']:7.1f} CPU s  {times:5.2f} times"
        sys.stdout.write(f"{line}  {told['megabytes']:6.0f} MB\n")
    sys.stdout.write(f"{RESAMPLES} resamples {results['ours']['bootstrap']:.1f} CPU s\n")
    return int(any(abs(told["ap"] - first["ap"]) > 1e-9 for told in results.values()))


def _in_a_process(name: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.scoring", "--score", name, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


if __name__ == "__main__":
    sys.exit(main())
