"""Training jobs for the real worker process."""

import dataclasses
import json
import time
from pathlib import Path

import pytest

from mal_core.config import EncoderConfig, MalConfig
from mal_core.processes.files import write_json
from tests.mal_core.drawn import TINY_ENCODER


def wait_for_step(scalars: Path, step: int) -> None:
    """Until a training has written this step."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        lines = scalars.read_text().splitlines() if scalars.exists() else []
        if lines and lines[-1].endswith("}") and json.loads(lines[-1])["step"] >= step:
            return
        time.sleep(0.02)
    pytest.fail(f"{scalars} did not reach step {step} within 60 s")


def train_job(
    folder: Path, dataset, config: MalConfig, encoder: EncoderConfig = TINY_ENCODER
) -> Path:
    """A job file for the worker, with the boxes as a COCO file."""
    boxes = folder / "boxes.json"
    write_json(
        boxes,
        {
            "images": [
                {"id": i.image_id, "file_name": i.file_name, "height": i.height, "width": i.width}
                for i in dataset.images
            ],
            "categories": [{"id": 1, "name": "ellipse"}],
            "annotations": [
                {
                    "id": a.annotation_id,
                    "image_id": a.image_id,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": [
                        a.box_xyxy[0],
                        a.box_xyxy[1],
                        a.box_xyxy[2] - a.box_xyxy[0],
                        a.box_xyxy[3] - a.box_xyxy[1],
                    ],
                }
                for a in dataset.boxes
            ],
        },
    )
    job = {
        "images": str(dataset.image_root),
        "boxes": str(boxes),
        "strict": False,
        "encoder": dataclasses.asdict(encoder),
        "mal": dataclasses.asdict(config),
        "seed": 0,
        "output_dir": str(folder / "parts"),
    }
    path = folder / "job.json"
    write_json(path, job)
    return path
