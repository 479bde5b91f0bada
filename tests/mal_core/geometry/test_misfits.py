"""Masks that were meant otherwise: polygons in polygons, masks of several objects."""

import numpy as np
import pytest

from mal_core.geometry.misfits import num_enclosing, reach_far


def square(x: float, y: float, side: float) -> list[float]:
    return [x, y, x + side, y, x + side, y + side, x, y + side]


C_SHAPE = [0.0, 0, 30, 0, 30, 8, 8, 8, 8, 22, 30, 22, 30, 30, 0, 30]


@pytest.mark.parametrize(
    ("parts", "encloses"),
    [
        ([square(0, 0, 20), square(5, 5, 5)], True),
        ([square(5, 5, 5), square(0, 0, 20)], True),
        ([square(0, 0, 20), square(40, 0, 5), square(9, 9, 2)], True),
        ([square(0, 0, 20), square(15, 5, 10)], False),
        ([square(0, 0, 20), square(0, 5, 5)], False),
        ([square(0, 0, 20), square(0, 0, 20)], False),
        ([C_SHAPE, square(12, 12, 6)], False),
        ([C_SHAPE, square(2, 12, 4)], True),
        ([square(0, 0, 20)], False),
    ],
)
def test_a_polygon_in_another_one_is_found(parts: list[list[float]], encloses: bool) -> None:
    others = [[square(0, 0, 9), square(20, 20, 9)], [square(3, 3, 3)]]
    assert num_enclosing([parts]) == encloses
    assert num_enclosing([*others, parts, *others, parts]) == 2 * encloses


def test_no_masks_have_none() -> None:
    assert num_enclosing([]) == 0


def test_a_mask_reaches_far_if_it_is_more_than_twice_as_long_as_its_box() -> None:
    extents = np.array([[0, 0, 44, 20], [0, 0, 44.5, 20], [0, 0, 20, 60], [0, 0, 5, 5]], float)
    boxes = np.array([[0, 0, 20, 20], [0, 0, 20, 20], [0, 0, 20, 20], [0, 0, 1, 1]], float)
    assert reach_far(extents, boxes).tolist() == [False, True, True, False]
