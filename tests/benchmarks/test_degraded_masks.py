"""Human masks made worse: to the quality that was asked for, and inside their box."""

import cv2
import numpy as np
import pytest

from benchmarks.degraded_masks import KINDS, degraded
from mal_core.quality.patch import mask_iou


def person_like() -> np.ndarray:
    mask = np.zeros((120, 60), np.uint8)
    cv2.ellipse(mask, (30, 14), (11, 14), 0, 0, 360, 1, -1)
    cv2.rectangle(mask, (12, 26), (47, 70), 1, -1)
    cv2.rectangle(mask, (0, 30), (12, 60), 1, -1)
    cv2.rectangle(mask, (47, 30), (59, 60), 1, -1)
    cv2.rectangle(mask, (14, 70), (24, 119), 1, -1)
    cv2.rectangle(mask, (36, 70), (46, 119), 1, -1)
    return mask > 0


@pytest.mark.parametrize("wanted", [0.4, 0.6, 0.8, 0.95])
def test_masks_have_the_iou_that_was_asked_for(wanted: float) -> None:
    mask = person_like()
    for seed in range(12):
        worse = degraded(mask, wanted, (seed,))
        assert worse.shape == mask.shape
        assert mask_iou(worse, mask) == pytest.approx(wanted, abs=0.02)
        assert np.array_equal(worse, degraded(mask, wanted, (seed,)))


def test_every_kind_of_error_differs_from_the_others() -> None:
    mask = person_like()
    drawn = [draw(mask, 0.3, np.random.default_rng(0)) for draw in KINDS.values()]
    for index, one in enumerate(drawn):
        assert not np.array_equal(one, mask)
        assert not any(np.array_equal(one, other) for other in drawn[:index])
