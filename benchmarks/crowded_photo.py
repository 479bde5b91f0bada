"""Memory of one photo with very many boxes: seconds, peak resident memory and bytes.

    python -m benchmarks.crowded_photo [--boxes 1000 4000 30000] [--limit 1.5]

Labels one drawn photo of 1,024 px with a small encoder from random weights, crops of 512 px
and color refinement off: what is measured is how many crops and logits are held, not the
network. Each size runs in a process of its own. Fails where one takes more than the limit.

docs/results.md has the numbers, and those of cutting all crops of a photo first.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from mal_core.config import EncoderConfig, MalConfig
from mal_core.data.coco import read_boxes
from mal_core.labeling.mask_writer import MaskWriter
from mal_core.labeling.work import generate_pseudo_labels
from mal_core.models.labeler import build_labeler
from mal_core.processes.files import sha256_file, write_json
from mal_core.report.text_tables import text_table

SIDE = 1024
ENCODER = EncoderConfig(
    name="vit_tiny_patch16_224",
    options={"embed_dim": 24, "depth": 1, "num_heads": 3, "patch_size": 32},
)
MAL = MalConfig(
    crop_size=512, batch_size=1, max_steps=1, learning_rate=1.0, head_channels=4, head_convs=1
)


def main() -> int:
    """Print the table; 1 when a size takes more memory than the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boxes", type=int, nargs="+", default=[1000, 4000, 30_000])
    parser.add_argument("--limit", type=float, default=1.5, help="GB, 1.5 unless told")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        sys.stdout.write(json.dumps(measured(chosen.boxes[0])))
        return 0
    rows = []
    for boxes in chosen.boxes:
        command = [sys.executable, "-m", "benchmarks.crowded_photo", "--child", "--boxes"]
        done = subprocess.run([*command, str(boxes)], check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout))
    sys.stdout.write(f"{text_table(rows)}\n")
    return int(any(float(row["peak GB"]) > chosen.limit for row in rows))


def measured(num_boxes: int) -> dict[str, str]:
    """Label a photo with that many boxes in this process."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = drawn(folder, num_boxes)
        torch.manual_seed(0)
        labeler, _ = build_labeler(ENCODER, MAL)
        dataset = read_boxes(folder, source)
        output, ledger = folder / "labels" / "train.json", folder / "labels" / "skipped.json"
        started = time.perf_counter()
        writer = MaskWriter(labeler, MAL)
        generate_pseudo_labels(dataset, writer, source=source, output=output, ledger=ledger)
        return {
            "boxes": str(num_boxes),
            "seconds": f"{time.perf_counter() - started:.1f}",
            "peak GB": f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f}",
            "sha256": sha256_file(output)[:12],
        }


def drawn(folder: Path, num_boxes: int) -> Path:
    """A photo of noise and boxes of 8 to 40 px on it; returns the annotation file."""
    generator = np.random.default_rng(0)
    image = cv2.resize(generator.integers(0, 255, (128, 128, 3), np.uint8), (SIDE, SIDE))
    cv2.imwrite(str(folder / "crowd.png"), image)
    sides = generator.integers(8, 41, (num_boxes, 2))
    corners = generator.integers(0, SIDE - 40, (num_boxes, 2))
    annotations = [
        {"id": index, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [*corner, *side]}
        for index, (corner, side) in enumerate(
            zip(corners.tolist(), sides.tolist(), strict=True), start=1
        )
    ]
    path = folder / "annotations.json"
    write_json(
        path,
        {
            "images": [{"id": 1, "file_name": "crowd.png", "height": SIDE, "width": SIDE}],
            "categories": [{"id": 1, "name": "cell"}],
            "annotations": annotations,
        },
    )
    return path


if __name__ == "__main__":
    sys.exit(main())
