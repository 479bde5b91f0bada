"""Properties of the method that span modules; every other one is beside its module.

The docstring `Spec Sn` names the property of the specification; the last test here sees to
it that S1 to S20 all have a test.
"""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mal_core.config import EncoderConfig, MalConfig
from mal_core.data.crops import resize_crop
from mal_core.evaluation.matching import match_predictions
from mal_core.geometry.boxes import expand_box, fixed_margins
from mal_core.labeling.views import resize_logits
from mal_core.models.labeler import build_labeler
from mal_core.processes.files import write_json
from mal_core.training.loop import LabelerTrainer
from mal_core.types import MaskMetrics
from scenes.write import write_scenes
from tests.mal_core.drawn import TINY_ENCODER, tiny_mal

CROP, GRID = 512, 128


def test_the_teacher_is_no_part_of_the_optimizer():
    """Spec S7."""
    labeler, _ = build_labeler(TINY_ENCODER, tiny_mal())
    trainer = LabelerTrainer(labeler, tiny_mal(), seed=0)
    optimized = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert not optimized & {id(p) for p in labeler.teacher.parameters()}
    assert optimized == {id(p) for p in labeler.student.parameters()}


def ellipse_in_crop(size: int) -> tuple[np.ndarray, np.ndarray]:
    """A crop box and the mask of a tilted ellipse that fills its box, at the crop's size."""
    box = np.array([40.0, 50.0, 40.0 + size, 50.0 + size])
    crop = expand_box(box, fixed_margins(0.6))
    width, height = (int(v) for v in crop[2:] - crop[:2])
    rows, columns = np.mgrid[:height, :width] + 0.5
    x, y = columns - (box[0] - crop[0]) - size / 2, rows - (box[1] - crop[1]) - size / 2
    u, v = x * 0.94 + y * 0.34, y * 0.94 - x * 0.34
    return crop, ((u / (0.52 * size)) ** 2 + (v / (0.38 * size)) ** 2 <= 1).astype(np.uint8)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("size", [8, 12, 32, 96, 200, 400, 700])
def test_a_mask_survives_crop_resize_grid_and_paste(size):
    """Spec S10."""
    crop, mask = ellipse_in_crop(size)
    prob = cv2.resize(mask.astype(np.float32), (CROP, CROP), interpolation=cv2.INTER_LINEAR)
    grid = cv2.resize(prob, (GRID, GRID), interpolation=cv2.INTER_AREA)
    logits = np.log(np.clip(grid, 1e-4, 1 - 1e-4) / np.clip(1 - grid, 1e-4, 1 - 1e-4))
    pasted = resize_logits(logits.astype(np.float32), crop)
    assert iou(pasted > 0, mask > 0) >= 0.99
    if size >= 128:  # the reference's cut at 0.1 makes masks too large
        wide = cv2.resize(grid, mask.shape[::-1], interpolation=cv2.INTER_LINEAR) > 0.1
        assert iou(wide, mask > 0) <= 0.975


def test_a_crop_has_the_size_the_network_wants():
    """Spec S10: larger and smaller crops."""
    for side in (20, 512, 900):
        assert resize_crop(np.zeros((side, side + 7, 3), np.uint8), CROP).shape == (CROP, CROP, 3)


@pytest.mark.slow
def test_the_published_network_has_the_published_shapes():
    """Spec S11; without scale adjustment our grid stays at a quarter (spec 3.3).

    The heads see the grid of the encoder, and a small one with patches of that size has the same.
    """
    encoder = EncoderConfig(name="vit_base_patch16_224.mae")
    small = {"embed_dim": 48, "depth": 1, "num_heads": 3}
    sides = {}
    for compat in (True, False):
        for scale_adjustment in (False, True):
            config = MalConfig(
                crop_size=CROP,
                batch_size=1,
                max_steps=1,
                learning_rate=1e-4,
                scale_adjustment=scale_adjustment,
                compat_official=compat,
            )
            labeler, _ = build_labeler(encoder, config)
            network, image = labeler.student.eval(), torch.zeros(1, 3, CROP, CROP)
            with torch.inference_mode():
                width = small["embed_dim"] if sides else 768
                assert network.encoder(image).shape == (1, width, 32, 32)
                logits = network(image, torch.tensor([[0.0, 0, 50, 50]]))
            assert logits.shape[:2] == (1, 1)
            sides[compat, scale_adjustment] = logits.shape[-1]
            encoder = EncoderConfig(name="vit_tiny_patch16_224", pretrained=False, options=small)
    assert sides == {(False, False): 128, (False, True): 128, (True, False): 256, (True, True): 128}


def test_pseudo_labels_that_are_the_human_masks_are_worth_as_much(tmp_path):
    """Spec S16."""
    write_scenes(tmp_path / "scenes", num_train=1, num_val=6, size=120, seed=1)
    human = tmp_path / "scenes" / "val" / "annotations.json"
    annotations = json.loads(human.read_text())["annotations"]
    keys = ("image_id", "category_id", "segmentation")
    write_json(
        tmp_path / "p.json", [{**{k: a[k] for k in keys}, "score": 0.9} for a in annotations]
    )
    metrics = match_predictions(human, tmp_path / "p.json").metrics()
    assert isinstance(metrics, MaskMetrics)
    assert metrics.ap == pytest.approx(1)


def test_every_property_of_the_specification_has_a_test():
    found: set[int] = set()
    for path in Path(__file__).parent.rglob("test_*.py"):
        for listed in re.findall(r'"""Spec ((?:S\d+(?:, )?)+)', path.read_text()):
            found.update(int(number) for number in re.findall(r"\d+", listed))
    assert found == set(range(1, 21))
