"""Pixels that two masks claim: they go where their colors are, or stay with both."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mal_core.labeling import contested
from mal_core.labeling.contested import Claim, settle
from mal_core.labeling.mask_writer import MaskWriter
from mal_core.labeling.protocol import Photo
from mal_core.models.labeler import build_labeler
from mal_core.types import BoxAnnotation, ImageRecord, PseudoLabel
from tests.mal_core.drawn import TINY_ENCODER, tiny_mal

RED, BLUE, GROUND = (200, 40, 40), (40, 60, 200), (120, 150, 120)
BEHIND, FRONT = (10, 10, 70, 50), (50, 20, 100, 60)
SHARED = (slice(20, 50), slice(50, 70))
"""Rows and columns that lie in both boxes."""


def photo(front: tuple[int, int, int], seed: int = 0) -> NDArray[np.uint8]:
    """A red rectangle, partly behind another, on ground, with noise of a few levels."""
    pixels = np.full((80, 120, 3), GROUND, dtype=np.int64)
    for (x0, y0, x1, y1), color in ((BEHIND, RED), (FRONT, front)):
        pixels[y0:y1, x0:x1] = color
    noise = np.random.default_rng(seed).integers(-6, 7, pixels.shape)
    return (pixels + noise).clip(0, 255).astype(np.uint8)


def filled(box: tuple[int, int, int, int]) -> Claim:
    """A mask that fills its box."""
    return Claim(box=box, mask=np.ones((box[3] - box[1], box[2] - box[0]), dtype=np.bool_))


def in_photo(claim: Claim, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask of a box at its place."""
    whole = np.zeros((80, 120), dtype=np.bool_)
    x0, y0, x1, y1 = claim.box
    whole[y0:y1, x0:x1] = mask
    return whole


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_one_behind_gives_up_what_has_the_colors_of_the_other(order):
    claims = [(filled(BEHIND), filled(FRONT))[place] for place in order]
    kept = settle(photo(BLUE), claims)
    behind, front = (in_photo(claims[place], kept[place]) for place in order)
    assert not behind[SHARED].any()
    assert front[SHARED].all()
    assert behind.sum() == 60 * 40 - 30 * 20
    assert front.sum() == 50 * 40


def test_the_claims_themselves_are_left_as_they_are():
    claims = [filled(BEHIND), filled(FRONT)]
    settle(photo(BLUE), claims)
    assert all(claim.mask.all() for claim in claims)


def test_objects_of_one_color_keep_what_both_claim():
    claims = [filled(BEHIND), filled(FRONT)]
    kept = settle(photo(RED), claims)
    assert all(mask is claim.mask for mask, claim in zip(kept, claims, strict=True))


def test_an_object_within_another_is_left_there():
    whole, inner = filled((10, 10, 100, 60)), filled(FRONT)
    kept = settle(photo(BLUE), [whole, inner])
    assert kept[0] is whole.mask
    assert kept[1] is inner.mask


def test_nothing_is_given_up_that_the_box_reaches_for():
    pixels = photo(BLUE)
    wide = (40, 20, 96, 50)  # almost to the end of the one in front: little would be left
    kept = settle(pixels, [filled(wide), filled(FRONT)])
    assert kept[0].all()


def test_masks_apart_are_not_even_copied():
    claims = [filled((0, 0, 20, 20)), filled((20, 0, 40, 20)), filled((60, 60, 80, 80))]
    assert all(a is b.mask for a, b in zip(settle(photo(BLUE), claims), claims, strict=True))


def test_a_mask_that_everybody_takes_from_stays_whole():
    halves = filled((20, 20, 46, 60)), filled((44, 20, 70, 60))
    pixels = np.full((80, 120, 3), GROUND, dtype=np.uint8)
    pixels[:, :45], pixels[:, 45:] = RED, BLUE
    middle = filled((30, 20, 60, 60))
    kept = settle(pixels, [*halves, middle])
    assert all(mask.any() for mask in kept)


def drawn(*fronts: tuple[int, int, int], settle_overlaps: bool) -> list[PseudoLabel]:
    """Labels of photos, two boxes each, by a network that finds all of every box."""
    config = tiny_mal(settle_overlaps=settle_overlaps)
    torch.manual_seed(0)
    labeler, _ = build_labeler(TINY_ENCODER, config)
    with torch.no_grad():
        labeler.student.instance_head.layers[2].bias.add_(20)
    photos = [
        Photo(
            record=ImageRecord(image_id=number, file_name="", height=80, width=120),
            boxes=tuple(
                BoxAnnotation(annotation_id=place, image_id=number, category_id=1, box_xyxy=box)
                for place, box in enumerate((BEHIND, FRONT))
            ),
            source=photo(front),
        )
        for number, front in enumerate(fronts)
    ]
    return list(MaskWriter(labeler, config).outcomes(photos))


def test_labels_of_each_photo_are_settled_and_pixels_counted_where_that_is_asked_for():
    labels = drawn(BLUE, RED, BLUE, settle_overlaps=True)
    assert [one.annotation_id for one in labels] == [0, 1, 0, 1, 0, 1]
    assert [one.ceded for one in labels] == [30 * 20, 0, 0, 0, 30 * 20, 0]
    assert [one.mask_area for one in labels] == [1800, 2000, 2400, 2000, 1800, 2000]
    assert [int(coco_mask.area(one.rle)) for one in labels] == [one.mask_area for one in labels]
    as_drawn = drawn(BLUE, RED, BLUE, settle_overlaps=False)
    assert [one.mask_area for one in as_drawn] == [2400, 2000] * 3
    assert [one.score for one in as_drawn] == [one.score for one in labels]


def test_nobody_waits_for_more_boxes_than_are_compared(monkeypatch):
    monkeypatch.setattr(contested, "MOST_TOGETHER", 1)
    assert [one.ceded for one in drawn(BLUE, settle_overlaps=True)] == [0, 0]
