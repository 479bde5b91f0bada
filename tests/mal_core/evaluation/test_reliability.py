"""How far a score can be trusted."""

import numpy as np
import pytest

from mal_core.evaluation.reliability import reliability

RANDOM = np.random.default_rng(0)


def test_the_true_iou_is_the_perfect_score():
    ious = RANDOM.uniform(0.2, 1, 200)
    found = reliability(ious, ious)
    assert found.spearman == pytest.approx(1)
    assert found.auroc == 1
    assert found.calibration_error == pytest.approx(0, abs=1e-9)
    assert found.lift == pytest.approx(200 / found.bad)
    assert sum(part.objects for part in found.bins) == 200


def test_a_score_that_knows_nothing_is_found_out():
    ious = RANDOM.uniform(0.2, 1, 2000)
    found = reliability(RANDOM.uniform(0.9, 1, 2000), ious)
    assert abs(found.spearman) < 0.1
    assert 0.4 < found.auroc < 0.6
    assert found.calibration_error == pytest.approx(0.95 - ious.mean(), abs=0.02)


def test_equal_scores_and_no_bad_mask_have_no_correlation_and_no_lift():
    found = reliability(np.full(10, 0.8), np.full(10, 0.9))
    assert (found.spearman, found.auroc, found.lift) == (None, None, None)
    assert found.calibration_error == pytest.approx(0.1)


def test_ties_count_half():
    found = reliability(np.array([0.5, 0.5]), np.array([0.2, 0.9]))
    assert found.auroc == 0.5
