"""Rotated boxes: into their own frame and back."""

import math

import cv2
import numpy as np
import pytest

from mal_core.geometry.boxes import expand_box, fixed_margins
from mal_core.geometry.rotated import Turn, corners_of, inside_corners
from mal_core.types import Corners

SIDE = 120


def rectangle(angle: float, size: tuple[float, float] = (60, 24), middle=(60.0, 55.0)) -> Corners:
    """Corners of a rectangle that is turned by degrees, clockwise on the screen."""
    points = cv2.boxPoints((middle, size, angle))
    ax, ay, bx, by, cx, cy, dx, dy = (float(value) for value in points.ravel())
    return ax, ay, bx, by, cx, cy, dx, dy


def whole() -> np.ndarray:
    return np.array([0, 0, SIDE, SIDE])


@pytest.mark.parametrize("angle", [0, 20, 44, 46, 90, 135, 170])
def test_a_box_stands_upright_in_its_frame_and_nothing_turns_by_more_than_an_eighth(angle):
    turn = Turn.of(rectangle(angle))
    assert abs(turn.angle) <= math.pi / 4 + 1e-6
    assert turn.middle == pytest.approx((60, 55), abs=1e-4)
    assert sorted(turn.size) == pytest.approx([24, 60], abs=1e-3)
    back = np.array(corners_of(turn, turn.box_xyxy)).reshape(4, 2)
    given = np.array(rectangle(angle)).reshape(4, 2)
    for corner in back:
        assert np.linalg.norm(given - corner, axis=1).min() < 1e-3


@pytest.mark.parametrize("angle", [0, 15, 45, 80, 120])
def test_what_is_cut_along_the_box_fills_it_and_returns_to_its_place(angle):
    corners = rectangle(angle)
    drawn = inside_corners(corners, whole())
    turn = Turn.of(corners)
    crop = expand_box(turn.box_xyxy, fixed_margins(0.8))
    upright = turn.cut(drawn.astype(np.uint8) * 255, crop) > 127
    x0, y0, x1, y1 = np.round(turn.box_xyxy - np.tile(crop[:2], 2)).astype(int)
    filled = np.zeros_like(upright)
    filled[y0:y1, x0:x1] = True
    assert iou(upright, filled) > 0.9
    back = turn.put_back(upright, crop, whole())
    assert iou(back, drawn) > 0.93


def test_an_upright_box_is_cut_as_it_is():
    image = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    turn = Turn.of((20, 30, 80, 30, 80, 54, 20, 54))
    crop = np.array([-30, -12, 30, 12])
    assert turn.angle == pytest.approx(0, abs=1e-6)
    np.testing.assert_array_equal(turn.cut(image, crop), image[30:54, 20:80])
    mask = np.zeros((24, 60), bool)
    mask[3:20, 10:50] = True
    back = turn.put_back(mask, crop, whole())
    np.testing.assert_array_equal(back[30:54, 20:80], mask)
    assert back.sum() == mask.sum()


def test_a_frame_goes_on_at_the_other_side_of_the_photo():
    image = np.arange(SIDE * SIDE, dtype=np.int64).reshape(SIDE, SIDE) % 251
    turn = Turn.of((0, 0, 20, 0, 20, 20, 0, 20))
    crop = np.array([-15, -10, 10, 10])
    cut = turn.cut(image.astype(np.uint8), crop)
    np.testing.assert_array_equal(cut[:, :5], image[:20, SIDE - 5 :])


def test_a_shape_of_four_corners_that_is_no_rectangle_bounds_its_mask():
    corners = (20.0, 20.0, 100.0, 30.0, 90.0, 80.0, 30.0, 60.0)
    inside = inside_corners(corners, whole())
    polygon = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(polygon, [np.array(corners, np.int32).reshape(4, 2)], 1)
    assert iou(inside, polygon > 0) > 0.96
    assert not inside[20:25, 90:].any()


def test_only_the_part_in_the_photo_counts():
    turn = Turn.within(rectangle(45, (100, 20), (0.0, 60.0)), (SIDE, SIDE))
    assert turn.angle == pytest.approx(Turn.of(rectangle(45, (100, 20))).angle)
    corners = np.array(corners_of(turn, turn.box_xyxy)).reshape(4, 2)
    assert turn.size[0] * turn.size[1] < 0.75 * 100 * 20
    assert corners[:, 0].min() > -15
    within = rectangle(30)
    assert Turn.within(within, (SIDE, SIDE)).size == pytest.approx(Turn.of(within).size, abs=1e-2)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())
