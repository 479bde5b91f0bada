"""Scores of masks, whoever drew them."""

import numpy as np
import pytest

import mal_core
from mal_core.quality.beliefs import Beliefs
from mal_core.quality.score import default_model

BOX = np.array([20.0, 10.0, 60.0, 50.0])


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A bright disk on a dark ground, and its mask."""
    generator = np.random.default_rng(0)
    image = generator.integers(20, 60, (80, 100, 3), dtype=np.uint8)
    y, x = np.mgrid[:80, :100]
    mask = np.hypot(y - 29.5, x - 39.5) <= 20
    image[mask] = generator.integers(160, 220, (80, 100, 3), dtype=np.uint8)[mask]
    return image, mask


def wrong_masks(mask: np.ndarray) -> dict[str, np.ndarray]:
    inside = np.zeros_like(mask)
    inside[10:50, 20:60] = True
    half = mask.copy()
    half[:, :40] = False
    return {"filled box": inside, "half": half, "ring around": inside & ~mask}


@pytest.mark.parametrize("kind", ["masks", "labels"])
def test_a_right_mask_scores_above_wrong_ones_of_the_same_box(kind):
    image, mask = scene()
    final = np.where(mask[10:50, 20:60], 3, -3).astype(np.float32)
    beliefs = Beliefs(final=final, network=final, spill=0.05)
    known = None if kind == "masks" else [beliefs]
    (right,) = mal_core.score_masks(image, BOX[None], [mask], beliefs=known)
    for name, wrong in wrong_masks(mask).items():
        (found,) = mal_core.score_masks(image, BOX[None], [wrong], beliefs=known)
        assert found.score < right.score - 0.05, name
    assert 0 <= right.interval[0] <= right.score <= right.interval[1] <= 1


def test_an_empty_mask_scores_nothing():
    image, mask = scene()
    empty, full = mal_core.score_masks(image, np.stack([BOX, BOX]), [mask & False, mask])
    assert empty.score == 0
    assert full.score > 0


def test_no_mask_is_no_error():
    image, _ = scene()
    assert mal_core.score_masks(image, np.zeros((0, 4)), []) == []


def test_components_are_enough_to_score_again():
    image, mask = scene()
    (found,) = mal_core.score_masks(image, BOX[None], [mask])
    again = default_model("masks").predict([found.components])[0]
    assert found.score == pytest.approx(float(again), abs=1e-4)
