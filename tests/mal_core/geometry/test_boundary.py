"""Boundary IoU."""

import numpy as np
import pytest

from mal_core.geometry.boundary import band_width, boundary, boundary_iou, boundary_rle
from mal_core.geometry.masks import mask_to_rle


def square(x: int, y: int, side: int, shape: tuple[int, int] = (100, 100)) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[y : y + side, x : x + side] = 1
    return mask


def test_the_band_is_two_percent_of_the_diagonal_and_at_least_one_pixel():
    assert band_width(480, 640) == 16
    assert band_width(4, 3) == 1


def test_the_band_of_a_square_is_a_frame():
    assert np.array_equal(boundary(square(20, 20, 40), 3), square(20, 20, 40) - square(23, 23, 34))


def test_the_border_of_the_image_is_an_outline_too():
    assert boundary(square(0, 0, 100), 2).sum() == 100 * 100 - 96 * 96


def test_the_band_as_rle_is_the_band_of_the_mask():
    for mask in (square(20, 20, 40), square(0, 60, 40), square(0, 0, 0)):
        expected = boundary(mask, band_width(100, 100))
        assert boundary_rle(mask_to_rle(mask), 100, 100) == mask_to_rle(expected)


def test_equal_masks_agree_and_disjoint_ones_do_not():
    assert boundary_iou(square(5, 7, 30), square(5, 7, 30)) == 1
    assert boundary_iou(square(5, 7, 30), square(60, 60, 30)) == 0
    assert boundary_iou(square(0, 0, 0), square(0, 0, 0)) == 0


def test_a_window_around_the_masks_changes_nothing():
    one, other = square(30, 20, 40), square(33, 22, 41)
    pixels = band_width(100, 100)
    a, b = boundary(one, pixels) > 0, boundary(other, pixels) > 0
    assert boundary_iou(one, other) == pytest.approx((a & b).sum() / (a | b).sum())


def test_a_large_object_is_judged_by_its_outline():
    human, shrunk = square(10, 10, 80), square(13, 13, 74)
    area_iou = 74**2 / 80**2
    assert area_iou > 0.85
    assert boundary_iou(shrunk, human) < 0.1
