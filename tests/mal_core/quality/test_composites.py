"""Objects pasted into other photos, and masks made wrong on purpose."""

import numpy as np
import pytest

from mal_core.quality.composites import PLACES_NEEDED, Cutout, compose, cut_out
from mal_core.quality.corruptions import CORRUPTIONS, corrupt
from mal_core.quality.patch import mask_iou


def disk(side: int) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return np.hypot(y, x) <= side / 2


def cutouts() -> list[Cutout]:
    generator = np.random.default_rng(1)
    return [
        Cutout(
            pixels=np.full((side, side, 3), generator.integers(0, 255, 3), np.uint8),
            mask=disk(side),
        )
        for side in (30, 40, 24, 36, 50)[:PLACES_NEEDED]
    ]


def ground(height: int = 120, width: int = 150) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


def composites(count: int = 40):
    found = (compose(ground(), cutouts(), np.random.default_rng(k)) for k in range(count))
    return [composite for composite in found if composite is not None]


def test_the_box_of_a_composite_is_as_tight_as_its_mask():
    found = composites()
    assert len(found) > 20
    for composite in found:
        rows, columns = np.flatnonzero(composite.mask.any(1)), np.flatnonzero(composite.mask.any(0))
        corners = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        assert composite.box_xyxy.tolist() == list(corners)


def test_a_photo_changes_only_where_something_was_pasted():
    for composite in composites():
        changed = (composite.image != ground()).any(2)
        x0, y0, x1, y1 = composite.box_xyxy.astype(int)
        around = changed.copy()
        around[max(0, y0 - 1) : y1 + 1, max(0, x0 - 1) : x1 + 1] = False
        for left, top, right, bottom in composite.others_xyxy.astype(int):
            around[max(0, top - 1) : bottom + 1, max(0, left - 1) : right + 1] = False
        assert around.mean() < 0.15  # parts of the object that others hide
        assert changed[composite.mask].mean() > 0.5


def test_what_lies_in_front_is_not_visible():
    hidden = [c for c in composites(80) if len(c.others_xyxy)]
    whole = [c for c in composites(80) if not len(c.others_xyxy)]
    assert len(hidden) > 10
    assert len(whole) > 10


def test_the_same_seed_gives_the_same_composite():
    first, second = (compose(ground(), cutouts(), np.random.default_rng(4)) for _ in range(2))
    assert (first.image == second.image).all()
    assert (first.mask == second.mask).all()


def test_a_photo_smaller_than_the_object_is_no_error():
    found = [compose(ground(14, 200), cutouts(), np.random.default_rng(k)) for k in range(20)]
    for composite in found:
        assert composite is None or composite.mask.shape == (14, 200)


def test_a_cutout_is_tight_and_tiny_objects_are_left():
    image = ground()
    mask = np.zeros((40, 40), bool)
    mask[5:20, 10:30] = True
    cutout = cut_out(image, (20, 30, 60, 70), mask)
    assert cutout.mask.shape == (15, 20)
    assert (cutout.pixels == image[35:50, 30:50]).all()
    mask[8:, :] = False
    assert cut_out(image, (20, 30, 60, 70), mask) is None
    assert cut_out(image, (20, 30, 60, 70), np.zeros((40, 40), bool)) is None


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(40, 30), (7, 60), (3, 3)])
def test_corrupted_masks_are_wrong_masks_of_the_same_box(name, shape):
    mask = np.zeros(shape, bool)
    mask[: max(1, 2 * shape[0] // 3), 1:] = True
    ious = [mask_iou(mask, corrupt(mask, name, np.random.default_rng(k))) for k in range(8)]
    assert min(ious) < 1 or shape == (3, 3)
    assert corrupt(mask, name, np.random.default_rng(0)).shape == shape


def test_an_empty_mask_can_be_corrupted_too():
    empty = np.zeros((20, 20), bool)
    for name in CORRUPTIONS:
        assert corrupt(empty, name, np.random.default_rng(0)).shape == (20, 20)
