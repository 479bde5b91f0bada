"""What is unlike the training crops is told."""

import numpy as np
import pytest

from mal_core.quality.familiarity import FEWEST, FamiliarCrops, point_of, remember
from mal_core.quality.score import drift_line


def crops(count: int, center: int, seed: int = 0) -> list[np.ndarray]:
    """Features around one axis, (8, 4, 4) each."""
    generator = np.random.default_rng(seed)
    found = generator.normal(0, 0.3, (count, 8, 4, 4)).astype(np.float32)
    found[:, center] += 1
    return list(found)


def known() -> FamiliarCrops:
    found = remember(np.stack([point_of(one) for one in crops(60, 0)]))
    assert found is not None
    return found


def test_crops_of_the_same_kind_are_familiar_and_others_are_not():
    memory = known()
    same = np.array([memory.unlikeness(one) for one in crops(200, 0, seed=1)])
    other = np.array([memory.unlikeness(one) for one in crops(20, 3, seed=2)])
    assert (same > 1).mean() < 0.15
    assert (other > 2).all()
    assert memory.unlikeness(crops(60, 0)[7]) == pytest.approx(0, abs=1e-3)


def test_the_kind_of_change_across_a_crop_counts_too():
    memory = known()
    flat = [np.broadcast_to(one.mean((1, 2), keepdims=True), one.shape) for one in crops(20, 0, 1)]
    assert all(memory.unlikeness(one) > 1 for one in flat)


def test_too_few_or_equal_crops_tell_nothing():
    points = np.stack([point_of(one) for one in crops(FEWEST - 1, 0)])
    assert remember(points) is None
    assert remember(np.tile(points[:1], (40, 1))) is None


def test_the_share_of_unlike_boxes_is_said_where_it_is_known():
    rows = [{"unlike": 0.5}, {"unlike": 1.5}, {"unlike": 3.0}, {"unlike": 0.2}, {"gaps": 0.1}]
    assert drift_line(rows) == "50.0% of 4 boxes look unlike the training crops (5% of these do)"
    assert drift_line([{"gaps": 0.1}]) is None
