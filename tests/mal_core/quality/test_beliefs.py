"""What probabilities say about a mask."""

import numpy as np
import pytest

from mal_core.quality.beliefs import Beliefs, Tokens, describe_beliefs, token_kinship

SHAPE = (20, 20)


def left(share: float, level: float = 3.0) -> np.ndarray:
    """Log-odds that are `level` on the left share of the box and -`level` elsewhere."""
    values = np.full(SHAPE, -level, np.float32)
    values[:, : round(share * SHAPE[1])] = level
    return values


def test_agreement_is_the_iou_of_the_masks():
    final = left(0.5)
    beliefs = Beliefs(final=final, network=left(0.4))
    found = describe_beliefs(final > 0, beliefs)
    assert found["refined"] == pytest.approx(0.8)


def test_doubt_and_belief_follow_the_probabilities():
    sure = describe_beliefs(left(0.5) > 0, Beliefs(final=left(0.5, 6)))
    unsure = describe_beliefs(left(0.5) > 0, Beliefs(final=left(0.5, 0.5)))
    assert sure["belief"] > 0.99 > unsure["belief"] > 0.6
    assert sure["doubt"] < 0.05 < 0.9 < unsure["doubt"]


def test_what_nobody_was_asked_has_no_component():
    found = describe_beliefs(left(0.5) > 0, Beliefs(final=left(0.5)))
    assert set(found) == {"belief", "doubt"}


def test_another_mask_of_the_same_box_is_judged_by_the_same_beliefs():
    beliefs = Beliefs(final=left(0.5), network=left(0.5), tokens=halves())
    own = describe_beliefs(left(0.5) > 0, beliefs)
    filled = describe_beliefs(np.ones(SHAPE, bool), beliefs)
    assert own["refined"] == 1
    assert filled["refined"] == pytest.approx(0.5)
    assert filled["kinship"] < own["kinship"] - 0.2


def halves() -> Tokens:
    """A crop whose left half looks unlike its right half; the box is the middle of it."""
    features = np.random.default_rng(0).normal(0, 0.1, (6, 8, 8)).astype(np.float32)
    features[0, :, :4] += 1
    return Tokens(features=features, box_xyxy=np.array([1.0, 1.0, 7.0, 7.0]))


def test_features_that_change_where_the_mask_ends_speak_for_it():
    tokens = halves()
    right = token_kinship(left(0.5) > 0, tokens)
    shifted = token_kinship(left(0.8) > 0, tokens)
    turned = token_kinship(left(0.5).T > 0, tokens)
    assert 0.6 < right <= 1
    assert turned < shifted < right


@pytest.mark.parametrize("level", [-3.0, 3.0])
def test_masks_without_object_or_ground_are_nobodys_kin(level):
    crop = np.array([0.0, 0.0, 8.0, 8.0])
    tokens = Tokens(features=halves().features, box_xyxy=crop)
    assert token_kinship(np.full(SHAPE, level) > 0, tokens) == 0


def test_boxes_beyond_their_crop_and_flat_features_are_no_error():
    outside = Tokens(features=halves().features, box_xyxy=np.array([-3.0, 7.9, 9.0, 12.0]))
    assert -1 <= token_kinship(left(0.5) > 0, outside) <= 1
    flat = Tokens(features=np.ones((3, 4, 4), np.float32), box_xyxy=np.array([1.0, 1.0, 3.0, 3.0]))
    assert token_kinship(left(0.5) > 0, flat) == 0
