"""What probabilities say about a mask."""

import numpy as np
import pytest

from mal_core.quality.agreement import Beliefs, describe_beliefs

SHAPE = (20, 20)


def left(share: float, level: float = 3.0) -> np.ndarray:
    """Log-odds that are `level` on the left share of the box and -`level` elsewhere."""
    values = np.full(SHAPE, -level, np.float32)
    values[:, : round(share * SHAPE[1])] = level
    return values


def test_agreement_is_the_iou_of_the_masks():
    final = left(0.5)
    beliefs = Beliefs(final=final, network=left(0.4), views=[left(0.5), left(0.25)], second=left(1))
    found = describe_beliefs(final > 0, beliefs)
    assert found["refined"] == pytest.approx(0.8)
    assert found["views"] == pytest.approx(0.5)
    assert found["second"] == pytest.approx(0.5)
    assert found["steady"] == 1


def test_doubt_and_belief_follow_the_probabilities():
    sure = describe_beliefs(left(0.5) > 0, Beliefs(final=left(0.5, 6)))
    unsure = describe_beliefs(left(0.5) > 0, Beliefs(final=left(0.5, 0.5)))
    assert sure["belief"] > 0.99 > unsure["belief"] > 0.6
    assert sure["doubt"] < 0.05 < 0.9 < unsure["doubt"]
    assert unsure["steady"] == 0


def test_what_nobody_was_asked_has_no_component():
    found = describe_beliefs(left(0.5) > 0, Beliefs(final=left(0.5), views=[left(0.5)]))
    assert set(found) == {"belief", "doubt", "steady"}


def test_another_mask_of_the_same_box_is_judged_by_the_same_beliefs():
    beliefs = Beliefs(final=left(0.5), second=left(0.5))
    own = describe_beliefs(left(0.5) > 0, beliefs)
    filled = describe_beliefs(np.ones(SHAPE, bool), beliefs)
    assert filled["second"] == pytest.approx(0.5)
    assert filled["belief"] < own["belief"]
