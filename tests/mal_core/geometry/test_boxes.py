"""Boxes and crops."""

from pathlib import Path

import numpy as np
import pytest

from mal_core.geometry.boxes import (
    box_mask_in_crop,
    expand_box,
    fixed_margins,
    interval_coverage,
    pixel_box,
    sample_margins,
    size_bin,
)

RECORDING = Path(__file__).parents[4] / "shared" / "parity" / "crop_boxes.npz"


def test_no_margin_gives_the_box_with_one_extra_pixel_right_and_below():
    """Spec S8."""
    crop = expand_box(np.array([100.0, 50.0, 200.0, 110.0]), np.zeros(4))
    assert crop.tolist() == [100, 50, 201, 111]


def test_labeling_margin_grows_the_crop_by_thirty_percent():
    crop = expand_box(np.array([100.0, 50.0, 200.0, 110.0]), fixed_margins(0.6))
    assert crop.tolist() == [85, 41, 216, 120]


def test_crops_equal_the_recorded_ones():
    if not RECORDING.exists():
        pytest.skip(f"recording {RECORDING.name} is not here")
    data = np.load(RECORDING)
    crops = expand_box(data["boxes_xyxy"], data["margins_ltrb"])
    np.testing.assert_array_equal(crops, data["expanded_xyxy"])
    fixed = expand_box(data["boxes_xyxy"], fixed_margins(0.6))
    np.testing.assert_array_equal(fixed, data["expanded_test_margin_0p6"])


def test_random_expansion_has_the_documented_statistics():
    """Spec S8."""
    generator = np.random.default_rng(0)
    margins = np.stack([sample_margins(generator, 1.2) for _ in range(20_000)])
    width_factor = 1 + (margins[:, 0] + margins[:, 2]) / 2
    assert width_factor.mean() == pytest.approx(1.30, abs=0.005)
    assert np.percentile(width_factor, 95) == pytest.approx(1.53, abs=0.01)
    assert width_factor.min() >= 1.0
    assert width_factor.max() <= 1.6


@pytest.mark.parametrize(
    ("area", "expected"), [(0, 0), (1023, 0), (1024, 1), (1025, 1), (9215, 1), (9216, 2), (9217, 2)]
)
def test_every_area_lies_in_exactly_one_size_bin(area, expected):
    """Spec S12."""
    assert size_bin(float(area)) == expected


def test_coverage_of_cells_sums_to_the_length_of_the_interval():
    coverage = interval_coverage(1.25, 3.5, 6)
    np.testing.assert_allclose(coverage, [0, 0.75, 1, 0.5, 0, 0])


def test_box_mask_in_its_crop_has_the_share_of_the_box():
    box = np.array([10.0, 20.0, 30.0, 60.0])
    crop = expand_box(box, np.full(4, 0.5))
    mask = box_mask_in_crop(box, crop, 32)
    crop_area = (crop[2] - crop[0]) * (crop[3] - crop[1])
    assert mask.mean() == pytest.approx(20 * 40 / crop_area, rel=1e-5)


def test_pixel_box_covers_fractions_and_stays_inside_the_image():
    assert pixel_box(np.array([0.4, 1.0, 5.2, 9.9]), 9, 6) == (0, 1, 6, 9)
    assert pixel_box(np.array([3.2, 3.2, 3.3, 3.3]), 9, 9) == (3, 3, 4, 4)


def test_a_repeated_box_mask_equals_the_wrapped_mask_of_the_image():
    """Spec Q7: with the quirk switched on, the mask is repeated along with the image."""
    width, height = 40, 30
    box, crop = np.array([0.0, 5.0, 40.0, 20.0]), np.array([-8, -14, 48, 42])
    mask = np.zeros((height, width), np.float32)
    mask[5:20, 0:40] = 1
    wrapped = mask[np.ix_(np.arange(-14, 42) % height, np.arange(-8, 48) % width)]
    ours = box_mask_in_crop(box, crop, 56, period=(width, height))
    np.testing.assert_allclose(ours, wrapped, atol=1e-6)
    assert ours.sum() > box_mask_in_crop(box, crop, 56).sum()
