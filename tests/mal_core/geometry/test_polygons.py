"""Masks as polygons give themselves back, holes, parts and single pixels included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mal_core.geometry.masks import mask_to_rle, rle_iou
from mal_core.geometry.polygons import (
    count_parts,
    drawn_polygon_to_rle,
    mask_to_polygon,
    mask_to_polygons,
    polygons_to_rle,
)

MASKS = arrays(np.uint8, (13, 17), elements=st.integers(0, 1))


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_any_mask_comes_back_exactly_from_its_polygons(mask):
    polygons = mask_to_polygons(mask)
    if not mask.any():
        assert polygons == []
        return
    for form in (polygons, [mask_to_polygon(mask)]):
        assert rle_iou(polygons_to_rle(form, *mask.shape), mask_to_rle(mask)) == 1


def ring() -> np.ndarray:
    mask = np.zeros((40, 50), np.uint8)
    mask[5:30, 8:40] = 1
    mask[12:20, 15:30] = 0
    return mask


def test_a_ring_and_an_island_are_two_parts_with_one_hole():
    mask = ring()
    mask[33:36, 3:6] = 1
    assert count_parts(mask) == (2, 1)
    assert len(mask_to_polygons(mask)) == 2


@pytest.mark.parametrize("joined", [False, True])
def test_opencv_draws_a_hole_with_one_line_through_it_at_most(joined):
    mask = ring()
    if joined:
        mask[33:36, 3:6] = 1
    drawn = drawn_polygon_to_rle(mask_to_polygon(mask), *mask.shape)
    assert rle_iou(drawn, mask_to_rle(mask)) > 0.98
