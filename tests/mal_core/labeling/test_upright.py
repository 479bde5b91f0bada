"""Rotated boxes are labeled upright, and their masks lie where the boxes do."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from mal_core.geometry.masks import segmentation_to_mask
from mal_core.geometry.rle import crop_mask_to_rle
from mal_core.geometry.rotated import inside_corners
from mal_core.labelers.drawing import DrawnPhotos
from mal_core.labelers.recipes import drawer_recipe
from mal_core.labelers.registry import DRAWERS
from mal_core.labeling.protocol import Photo
from mal_core.labeling.upright import upright_outcomes, upright_parts
from mal_core.types import BoxAnnotation, ImageRecord, PseudoLabel, SkippedBox, SkipReason

WIDTH, HEIGHT = 200, 160


def rotated(number: int, middle: tuple[float, float], size: tuple[float, float], angle: float):
    points = cv2.boxPoints((middle, size, angle))
    (x0, y0), (x1, y1) = points.min(0).tolist(), points.max(0).tolist()
    around = (max(x0, 0.0), max(y0, 0.0), min(x1, float(WIDTH)), min(y1, float(HEIGHT)))
    corners = tuple(float(value) for value in points.ravel())
    return BoxAnnotation(
        annotation_id=number, image_id=1, category_id=1, box_xyxy=around, corners=corners
    )


BOXES = (
    rotated(1, (60, 60), (70, 24), 30),
    BoxAnnotation(annotation_id=2, image_id=1, category_id=1, box_xyxy=(120.0, 20.0, 170.0, 50.0)),
    rotated(3, (130, 110), (90, 30), -50),
    rotated(4, (5, 150), (60, 30), 45),
)


def photo(number: int = 1, boxes: tuple[BoxAnnotation, ...] = BOXES) -> Photo:
    record = ImageRecord(image_id=number, file_name=f"{number}.png", width=WIDTH, height=HEIGHT)
    pixels = np.random.default_rng(number).integers(100, 140, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for box in boxes:
        if box.corners is not None:
            (x, y), size, angle = cv2.minAreaRect(np.array(box.corners, np.float32).reshape(4, 2))
            cv2.ellipse(pixels, ((x, y), size, angle), (220, 40, 40), -1)
    return Photo(record=record, boxes=boxes, source=pixels)


def drawer(name: str) -> DrawnPhotos:
    return DrawnPhotos(DRAWERS[name](drawer_recipe(name)))


def mask_of(outcome) -> np.ndarray:
    assert isinstance(outcome, PseudoLabel)
    mask = segmentation_to_mask(outcome.rle, HEIGHT, WIDTH) > 0
    assert outcome.mask_area == mask.sum()
    return mask


@pytest.mark.parametrize("name", ["box", "ellipse", "grabcut"])
def test_masks_fill_and_never_leave_their_rotated_boxes(name):
    outcomes = list(upright_outcomes(drawer(name).outcomes, [photo()]))
    assert [one.annotation_id for one in outcomes] == [1, 2, 3, 4]
    for box, outcome in zip(BOXES, outcomes, strict=True):
        mask = mask_of(outcome)
        if box.corners is None:
            continue
        inside = inside_corners(box.corners, np.array([0, 0, WIDTH, HEIGHT]))
        assert not (mask & ~inside).any()
        rectangle = cv2.minAreaRect(np.array(box.corners, np.float32).reshape(4, 2))
        ellipse = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.ellipse(ellipse, rectangle, 1, -1)
        wanted = inside if name == "box" else ellipse > 0
        if box.annotation_id != 4:  # which the photo cuts off
            assert (mask & wanted).sum() / (mask | wanted).sum() > 0.9


def test_upright_boxes_come_out_bit_by_bit_as_without_rotated_ones_beside_them():
    labeler = drawer("grabcut")
    alone = list(labeler.outcomes([photo(boxes=BOXES[1:2])]))
    pixels = photo(boxes=BOXES[1:2]).source
    together = list(upright_outcomes(labeler.outcomes, [replace(photo(), source=pixels)]))
    assert together[1] == alone[0]


def test_order_holds_over_photos_whichever_boxes_they_have():
    photos = [photo(1, BOXES[2:]), photo(2, BOXES[1:2]), photo(3, BOXES), photo(4, BOXES[:1])]
    found = [one.annotation_id for one in upright_outcomes(drawer("box").outcomes, photos)]
    assert found == [3, 4, 2, 1, 2, 3, 4, 1]


def test_photos_are_taken_only_as_the_labeler_needs_them():
    taken = []

    def photos():
        for number in (1, 2):
            taken.append(number)
            yield photo(number)

    outcomes = upright_outcomes(drawer("box").outcomes, photos())
    next(outcomes)
    assert taken == [1]


def test_company_is_told_in_the_frame_of_the_box():
    parts = list(upright_parts(photo()))
    assert [part.places for part in parts] == [(1,), (0,), (2,), (3,)]
    near = parts[1].photo
    x0, y0, x1, y1 = near.boxes[0].box_xyxy
    assert near.boxes[0].corners is None
    assert 0 < x0 < x1 < near.record.width
    assert (x1 - x0, y1 - y0) == pytest.approx((70, 24), abs=0.01)
    assert len(parts[0].photo.company_xyxy) == 3


def test_a_mask_without_a_pixel_in_the_photo_is_a_counted_skip():
    class Nothing:
        crowds_as_objects = False

        def outcomes(self, photos):
            for one in photos:
                for box in one.boxes:
                    size = [one.record.height, one.record.width]
                    corner = crop_mask_to_rle(np.ones((1, 1), bool), (0, 0), *size)
                    yield PseudoLabel(
                        annotation_id=box.annotation_id, rle=corner, mask_area=1, score=0.5
                    )

    (outcome,) = upright_outcomes(Nothing().outcomes, [photo(boxes=BOXES[:1])])
    assert outcome == SkippedBox(annotation_id=1, image_id=1, reason=SkipReason.EMPTY_MASK)
