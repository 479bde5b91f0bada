"""What outline, colors and place say about a mask."""

import numpy as np
import pytest

from mal_core.quality.evidence import describe_colors, describe_place, describe_shape
from mal_core.quality.patch import cut_patch

BOX = np.array([20.0, 10.0, 60.0, 50.0])
NOBODY = np.zeros((0, 4))


def disk(radius: float = 20.0) -> np.ndarray:
    y, x = np.mgrid[:40, :40] - 19.5
    return np.hypot(y, x) <= radius


def photo(object_mask: np.ndarray, seed: int = 0) -> np.ndarray:
    """A bright object on a dark ground, both a little noisy."""
    generator = np.random.default_rng(seed)
    image = generator.integers(20, 60, (80, 100, 3), dtype=np.uint8)
    bright = generator.integers(160, 220, (40, 40, 3), dtype=np.uint8)
    image[10:50, 20:60][object_mask] = bright[object_mask]
    return image


def shape(mask: np.ndarray) -> dict[str, float]:
    return describe_shape(cut_patch(photo(disk()), BOX, mask))


def colors(mask: np.ndarray) -> dict[str, float]:
    return describe_colors(cut_patch(photo(disk()), BOX, mask))


def test_a_disk_touches_all_sides_and_is_round():
    found = shape(disk())
    assert found["fill"] == pytest.approx(np.pi / 4, abs=0.02)
    assert found["gap"] == 0
    assert found["compact"] > 0.9
    assert found["solid"] > 0.95
    assert found["fragments"] == found["holes"] == 0


def test_a_filled_box_lies_flush_with_all_sides():
    assert shape(np.ones((40, 40), bool))["flush"] == 1
    assert shape(disk())["flush"] < 0.5


def test_a_mask_that_misses_a_side_leaves_a_gap():
    mask = disk()
    mask[:, :10] = False
    assert shape(mask)["gap"] == pytest.approx(10 / 40, abs=0.03)


def test_islands_and_holes_are_counted_by_their_area():
    mask = disk(14)
    area = mask.sum()
    mask[18:22, 18:22] = False
    found = shape(mask)
    assert found["holes"] == pytest.approx(16 / (area - 16), abs=0.005)
    mask = disk(10)
    mask[:4, :4] = True
    assert shape(mask)["fragments"] == pytest.approx(16 / mask.sum(), abs=0.005)


def test_a_bay_that_opens_outward_is_no_hole():
    mask = disk(14)
    mask[19:21, :20] = False
    assert shape(mask)["holes"] == 0


@pytest.mark.parametrize("wrong", [disk(10), np.ones((40, 40), bool)])
def test_the_right_outline_has_the_strongest_edges_and_contrast(wrong):
    right, other = colors(disk()), colors(wrong)
    assert right["contrast"] > other["contrast"]
    assert right["colors"] >= other["colors"]
    if not wrong.all():
        assert right["edges"] > other["edges"]


def test_an_empty_mask_and_one_that_fills_the_photo_have_components_too():
    image = photo(disk())
    everything = np.array([0.0, 0.0, 100.0, 80.0])
    for mask in (np.zeros((80, 100), bool), np.ones((80, 100), bool)):
        patch = cut_patch(image, everything, mask)
        found = {**describe_shape(patch), **describe_colors(patch)}
        assert np.isfinite(list(found.values())).all()


def test_boxes_in_a_box_are_its_company_but_what_it_lies_on_is_not():
    patch = cut_patch(photo(disk()), BOX, disk())
    half = np.array([[20.0, 10.0, 40.0, 50.0]])
    table = np.array([[0.0, 0.0, 100.0, 80.0]])
    shape_of_photo = (80, 100, 3)
    alone = describe_place(patch, BOX, shape_of_photo, NOBODY)
    assert alone["crowded"] == alone["claimed"] == 0
    crowded = describe_place(patch, BOX, shape_of_photo, np.concatenate([half, table]))
    assert crowded["crowded"] == pytest.approx(0.5, abs=0.03)
    assert crowded["claimed"] == pytest.approx(0.5, abs=0.05)


def test_sides_at_the_border_of_the_photo_are_counted():
    corner = np.array([0.0, 0.0, 40.0, 40.0])
    patch = cut_patch(photo(disk()), corner, disk())
    assert describe_place(patch, corner, (80, 100, 3), NOBODY)["border"] == 0.5


@pytest.mark.parametrize("box", [(3, 4, 4, 5), (0, 0, 1, 80), (10, 10, 13, 11.5)])
def test_the_smallest_and_narrowest_boxes_have_components(box):
    corners = np.array(box, float)
    rows, columns = int(np.ceil(box[3])) - box[1], box[2] - box[0]
    patch = cut_patch(photo(disk()), corners, np.ones((rows, columns), bool))
    found = {**describe_shape(patch), **describe_colors(patch)}
    found |= describe_place(patch, corners, (80, 100, 3), NOBODY)
    assert np.isfinite(list(found.values())).all()
