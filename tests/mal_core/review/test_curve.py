"""What corrections are worth, on numbers that can be counted by hand."""

import numpy as np
import pytest

from mal_core.review.curve import (
    BELIEF,
    BEST,
    OURS,
    SCORE,
    curves_of,
    review_curve,
    worth_of_review,
)
from tests.mal_core.review.reviewed import MASKS, write_labels


def test_a_corrected_mask_counts_as_one():
    ious = np.array([0.0, 0.5, 1.0, 0.9])
    half, everything = review_curve(ious, [0, 1, 3, 2], shares=(0.5, 1.0), seconds_per_mask=3600)
    assert half.corrected == 2
    assert half.hours == 2.0
    assert half.ordered == pytest.approx((1 + 1 + 1 + 0.9) / 4)
    assert half.random == pytest.approx(0.6 + 0.5 * 0.4)
    # 1.5 of the 1.6 that are missing: random corrections get that with 3.75 masks of 4.
    assert half.hours_saved == pytest.approx(4 * 1.5 / 1.6 - 2)
    assert everything.ordered == everything.random == 1.0
    assert everything.hours_saved == pytest.approx(0)


def test_labels_that_are_perfect_gain_nothing():
    (point,) = review_curve(np.ones(3), [2, 1, 0], shares=(0.1,))
    assert (point.ordered, point.random, point.hours_saved) == (1.0, 1.0, 0.0)


def test_a_file_has_a_curve_for_each_order(tmp_path):
    labels, human = write_labels(tmp_path / "labels"), write_labels(tmp_path / "human")
    content = labels.content()
    worst = next(entry for entry in content["annotations"] if not entry["iscrowd"])
    x, y, _, _ = worst["bbox"]
    worst["segmentation"] = [[x, y, x + 4, y, x + 4, y + 4, x, y + 4]]
    labels.rewrite(content)
    found = curves_of(labels.annotations, human.annotations, seconds_per_mask=79.2)
    assert found.objects == MASKS
    assert found.curves.keys() == {OURS, SCORE, BELIEF, BEST}
    assert found.mask_iou < 1
    for name in (OURS, SCORE, BEST):  # one mask is wrong, and its score is the lowest
        assert found.curves[name][0].ordered == 1.0
        assert found.curves[name][0].random < 1.0


def test_a_run_says_what_a_review_would_give(tmp_path):
    files = write_labels(tmp_path / "labels", masks=20)
    objects = [entry for entry in files.content()["annotations"] if not entry["iscrowd"]]
    iou_of = {entry["id"]: 1.0 for entry in objects}
    iou_of[min(objects, key=lambda entry: entry["score"])["id"]] = 0.0
    said = worth_of_review(files.annotations, iou_of, 3600)
    assert said is not None
    assert "mean mask IoU from 0.950: 5 % (1 masks, 1.0 h) to 1.000 (at random 0.952)" in said
    del iou_of[objects[-1]["id"]]
    assert worth_of_review(files.annotations, iou_of, 3600) is None
