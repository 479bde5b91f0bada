"""The training loop: resume, determinism, refusals, and that it learns masks from boxes."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from mal_core.artifacts import write_json
from mal_core.config import MalConfig
from mal_core.errors import ConfigError, TrainingError
from mal_core.labeling import MaskWriter, _label_images
from mal_core.training import LabelerTrainer, learning_rate_at, ramp, train_labeler
from mal_core.types import PseudoLabel
from tests.mal_core.drawn import TINY_ENCODER, draw_ellipses, tiny_mal


def weights_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Student tensors of a checkpoint."""
    return dict(torch.load(checkpoint, weights_only=True)["student"])


def equal_weights(a: Path, b: Path) -> bool:
    """Whether two checkpoints hold the very same numbers."""
    first, second = weights_of(a), weights_of(b)
    return all(torch.equal(first[name], second[name]) for name in first | second)


def test_the_rate_rises_to_its_peak_and_ends_at_its_final_share():
    config = tiny_mal(max_steps=100, learning_rate=1.0, warmup=0.1, final_rate=0.2)
    rates = [learning_rate_at(step, config) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.6)
    assert rates[100] == pytest.approx(0.2)
    assert max(rates) <= 1.0


def test_a_loss_ramps_up_and_stays():
    assert [ramp(step, 0.5, 8) for step in (0, 1, 4, 7)] == [0.0, 0.25, 1.0, 1.0]
    assert ramp(0, 0.0, 8) == 1.0


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path):
    dataset, _ = draw_ellipses(tmp_path / "images", 4)
    runs = {
        name: train_labeler(
            dataset, TINY_ENCODER, tiny_mal(), seed=seed, output_dir=tmp_path / name
        )
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    }
    assert equal_weights(runs["a"], runs["b"])
    assert not equal_weights(runs["a"], runs["c"])


def test_data_workers_do_not_change_the_result(tmp_path):
    dataset, _ = draw_ellipses(tmp_path / "images", 4)
    a, b = (
        train_labeler(
            dataset, TINY_ENCODER, tiny_mal(num_workers=n), seed=0, output_dir=tmp_path / str(n)
        )
        for n in (0, 2)
    )
    assert equal_weights(a, b)


def test_an_interrupted_run_continues_on_the_same_trajectory(tmp_path, monkeypatch):
    dataset, _ = draw_ellipses(tmp_path / "images", 4)
    whole = train_labeler(dataset, TINY_ENCODER, tiny_mal(), seed=0, output_dir=tmp_path / "whole")
    step = LabelerTrainer.train_step

    def killed_at_six(self, batch):
        if self.step == 6:
            raise KeyboardInterrupt
        return step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(LabelerTrainer, "train_step", killed_at_six)
        with pytest.raises(KeyboardInterrupt):
            train_labeler(dataset, TINY_ENCODER, tiny_mal(), seed=0, output_dir=tmp_path / "parts")
    assert (tmp_path / "parts" / "state.pth").exists()
    parts = train_labeler(dataset, TINY_ENCODER, tiny_mal(), seed=0, output_dir=tmp_path / "parts")
    assert equal_weights(whole, parts)
    losses = [
        [(line["step"], line["loss"]) for line in map(json.loads, path.read_text().splitlines())]
        for path in (tmp_path / "whole" / "scalars.jsonl", tmp_path / "parts" / "scalars.jsonl")
    ]
    assert losses[0] == losses[1]


def test_sigterm_saves_the_state_and_the_rest_equals_the_uninterrupted_run(tmp_path):
    dataset, _ = draw_ellipses(tmp_path / "images", 4)
    config = tiny_mal(max_steps=150, checkpoint_every=1000)
    whole = train_labeler(dataset, TINY_ENCODER, config, seed=0, output_dir=tmp_path / "whole")
    job = train_job(tmp_path, dataset, config)
    child = subprocess.Popen(
        [sys.executable, "-m", "mal_core.worker", "train", str(job)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "MAL_PROGRESS": "events"},
    )
    wait_for_step(tmp_path / "parts" / "scalars.jsonl", 20)
    child.send_signal(signal.SIGTERM)
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 143, output
    assert (tmp_path / "parts" / "state.pth").exists()
    parts = train_labeler(dataset, TINY_ENCODER, config, seed=0, output_dir=tmp_path / "parts")
    assert equal_weights(whole, parts)


def wait_for_step(scalars: Path, step: int) -> None:
    """Until a training has written this step."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        lines = scalars.read_text().splitlines() if scalars.exists() else []
        if lines and lines[-1].endswith("}") and json.loads(lines[-1])["step"] >= step:
            return
        time.sleep(0.02)
    pytest.fail(f"{scalars} did not reach step {step} within 60 s")


def train_job(folder: Path, dataset, config: MalConfig) -> Path:
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
        "encoder": dataclasses.asdict(TINY_ENCODER),
        "mal": dataclasses.asdict(config),
        "seed": 0,
        "output_dir": str(folder / "parts"),
    }
    path = folder / "job.json"
    write_json(path, job)
    return path


def test_a_diverging_loss_stops_with_the_step_and_what_to_lower(tmp_path):
    dataset, _ = draw_ellipses(tmp_path / "images", 4)
    config = tiny_mal(learning_rate=1e30, max_steps=60)
    with pytest.raises(TrainingError, match=r"at step \d+.*mal\.learning_rate"):
        train_labeler(dataset, TINY_ENCODER, config, seed=0, output_dir=tmp_path / "run")


def test_no_box_in_the_trained_area_range_is_refused(tmp_path):
    dataset, _ = draw_ellipses(tmp_path / "images", 2)
    config = tiny_mal(min_box_area=1e9)
    with pytest.raises(ConfigError, match="min_box_area"):
        train_labeler(dataset, TINY_ENCODER, config, seed=0, output_dir=tmp_path / "run")


@pytest.mark.slow
def test_masks_learned_from_boxes_beat_filled_boxes(tmp_path):
    dataset, gt_masks = draw_ellipses(tmp_path / "images", 16)
    config = tiny_mal(max_steps=300, batch_size=8, head_channels=32, checkpoint_every=1000)
    from mal_core.checkpoints import load_labeler

    checkpoint = train_labeler(dataset, TINY_ENCODER, config, seed=0, output_dir=tmp_path / "run")
    labeler, _ = load_labeler(checkpoint)
    ious, filled = [], []
    boxes_of = {box.image_id: [box] for box in dataset.boxes}
    writer = MaskWriter(labeler, config)
    for _, outcomes in _label_images(dataset.images, boxes_of, dataset.image_root, writer):
        for outcome in outcomes:
            gt_mask = gt_masks[outcome.annotation_id]
            ious.append(iou(outcome, gt_mask))
    for box in dataset.boxes:
        filled.append(gt_masks[box.annotation_id].sum() / box.area)
    assert np.mean(ious) > np.mean(filled) + 0.05


def iou(outcome, gt_mask) -> float:
    """Mask IoU of one outcome; 0 for a skipped box."""
    from pycocotools import mask as coco_mask

    if not isinstance(outcome, PseudoLabel):
        return 0.0
    pseudo_mask = coco_mask.decode(outcome.rle)
    return float((pseudo_mask & gt_mask).sum() / (pseudo_mask | gt_mask).sum())
