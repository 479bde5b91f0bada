"""Masks without specks."""

import numpy as np

from mal_core.quality.cleaning import clean_mask


def speckled() -> np.ndarray:
    mask = np.zeros((40, 40), bool)
    mask[5:25, 5:25] = True
    mask[10:12, 10:12] = False
    mask[30:33, 30:33] = True
    return mask


def test_small_parts_go_and_small_holes_close():
    mask = speckled()
    cleaned = clean_mask(mask, fragments=0.05, holes=0.05)
    assert (cleaned.dropped, cleaned.filled) == (9, 4)
    assert cleaned.mask.sum() == 400
    assert cleaned.mask[5:25, 5:25].all()


def test_what_is_large_enough_stays():
    mask = speckled()
    cleaned = clean_mask(mask, fragments=0.02, holes=0.005)
    assert (cleaned.mask == mask).all()
    assert (cleaned.dropped, cleaned.filled) == (0, 0)


def test_the_largest_part_stays_whatever_the_share():
    mask = np.zeros((10, 10), bool)
    mask[2, 2] = True
    assert (clean_mask(mask, fragments=1.0, holes=1.0).mask == mask).all()
    assert not clean_mask(mask & False, fragments=1.0, holes=1.0).mask.any()


def test_a_bay_is_no_hole():
    mask = np.ones((20, 20), bool)
    mask[8:10, :10] = False
    assert clean_mask(mask, fragments=0.0, holes=0.5).filled == 0
