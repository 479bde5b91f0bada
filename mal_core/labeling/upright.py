"""Rotated boxes for labelers that know upright ones: each in a photo of its own, and back.

A rotated box and what is around it are cut out of the photo along the axes of the box. In that
small photo it is an upright box, for every labeler; the mask that comes out is turned back and
ends where the rotated box does.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mal_core.geometry.boxes import expand_box, fixed_margins, pixel_box
from mal_core.geometry.masks import segmentation_to_mask
from mal_core.geometry.rle import crop_mask_to_rle
from mal_core.geometry.rotated import Turn, inside_corners
from mal_core.labeling.protocol import Photo, corners_of
from mal_core.types import (
    BoxAnnotation,
    Corners,
    ImageRecord,
    Outcome,
    Rle,
    SkippedBox,
    SkipReason,
)

SURROUNDINGS = 1.2
"""Growth of a rotated box to its small photo: as much as anybody looks at around a box."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Some boxes of a photo that are labeled together.

    Attributes:
        photo: With upright boxes only.
        places: Of its boxes among those of the whole photo.
        home: Where its one box comes from, if that is rotated.
    """

    photo: Photo
    places: tuple[int, ...]
    home: "Home | None" = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Home:
    """A rotated box in its own photo.

    Attributes:
        record: That photo.
        corners: Of the box.
        turn: Its frame.
        crop_xyxy: The small photo, px of the frame, shape (4,).
    """

    record: ImageRecord
    annotation: BoxAnnotation
    corners: Corners
    turn: Turn
    crop_xyxy: NDArray[np.int64]

    def bring_back(self, outcome: Outcome) -> Outcome:
        """What became of the box, in its own photo."""
        if isinstance(outcome, SkippedBox):
            return outcome
        rle = self.mask_at_home(outcome.rle)
        pixels = int(coco_mask.area(rle))
        if not pixels:
            return SkippedBox(
                annotation_id=self.annotation.annotation_id,
                image_id=self.annotation.image_id,
                reason=SkipReason.EMPTY_MASK,
            )
        return replace(outcome, rle=rle, mask_area=pixels)

    def mask_at_home(self, rle: Rle) -> Rle:
        """A mask of the small photo in the photo of the box, up to where the rotated box ends."""
        height, width = self.record.height, self.record.width
        area = pixel_box(np.array(self.annotation.box_xyxy), height, width)
        area_xyxy = np.array(area, dtype=np.int64)
        x0, y0, x1, y1 = self.crop_xyxy.tolist()
        upright = segmentation_to_mask(rle, y1 - y0, x1 - x0) > 0
        mask = self.turn.put_back(upright, self.crop_xyxy, area_xyxy)
        mask &= inside_corners(self.corners, area_xyxy)
        return crop_mask_to_rle(mask, area[:2], height, width)

    def mask_from_home(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A mask of the photo in the small one, its rim continued to where nothing is known.

        A mask ends where its rotated box and its photo do, and turning frays it there: what was
        drawn beyond is not known, and takes the value of the nearest pixel within.

        Args:
            mask: Of the whole photo, shape (H, W) uint8.

        Returns:
            Shape (h, w) of the small photo, uint8.
        """
        seen = self.turn.cut(mask, self.crop_xyxy)
        known = self._within()
        if not known.any():
            return seen
        _, nearest = cv2.distanceTransformWithLabels(
            (~known).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
        )
        value_of = np.zeros(int(nearest.max()) + 1, np.uint8)
        value_of[nearest[known]] = seen[known]
        return np.asarray(value_of[nearest])

    def _within(self) -> NDArray[np.bool_]:
        """The pixels of the small photo, shape (h, w), wholly in the box and in its photo."""
        x0, y0, x1, y1 = self.crop_xyxy.tolist()
        x, y = np.meshgrid(np.arange(x0, x1) + 0.5, np.arange(y0, y1) + 0.5)
        points = np.stack([x.ravel(), y.ravel()], axis=1)
        low, high = self.turn.box_xyxy[:2] + 0.5, self.turn.box_xyxy[2:] - 0.5
        there = self.turn.to_photo(points)
        edge = np.array(self.record.size) - 0.5
        within = ((points >= low) & (points <= high) & (there >= 0.5) & (there <= edge)).all(1)
        return np.asarray(within.reshape(x.shape))


def upright_parts(photo: Photo) -> Iterator[Part]:
    """The upright boxes of a photo together, and each rotated one in a photo of its own.

    Small photos are cut as they are asked for, from a photo that is decoded once.
    """
    rotated = {k: box.corners for k, box in enumerate(photo.boxes) if box.corners is not None}
    if not rotated:
        yield Part(photo=photo, places=tuple(range(len(photo.boxes))))
        return
    pixels = photo.pixels()
    all_xyxy = corners_of(photo.boxes)
    upright = tuple(k for k, box in enumerate(photo.boxes) if box.corners is None)
    if upright:
        company = np.concatenate([all_xyxy[list(rotated)], photo.company_xyxy])
        boxes = tuple(photo.boxes[k] for k in upright)
        shared = replace(photo, boxes=boxes, source=pixels, company_xyxy=company)
        yield Part(photo=shared, places=upright)
    for place, corners in rotated.items():
        others = np.concatenate([np.delete(all_xyxy, place, axis=0), photo.company_xyxy])
        yield _small_photo(photo, pixels, place, corners, others)


def frame_of(corners: Corners, photo_wh: tuple[int, int]) -> tuple[Turn, NDArray[np.int64]]:
    """The frame of a rotated box of a photo, and the small photo in it, px, shape (4,)."""
    turn = Turn.within(corners, photo_wh)
    return turn, expand_box(turn.box_xyxy, fixed_margins(SURROUNDINGS))


def seen_in_frame(mask: NDArray[np.uint8], corners: Corners) -> NDArray[np.uint8]:
    """A mask of the photo, shape (H, W), in the small photo of a rotated box, shape (h, w)."""
    turn, crop_xyxy = frame_of(corners, (mask.shape[1], mask.shape[0]))
    return turn.cut(mask, crop_xyxy)


def _small_photo(
    photo: Photo,
    pixels: NDArray[np.uint8],
    place: int,
    corners: Corners,
    others_xyxy: NDArray[np.float64],
) -> Part:
    annotation = photo.boxes[place]
    turn, crop_xyxy = frame_of(corners, photo.record.size)
    start = np.tile(crop_xyxy[:2], 2)
    width, height = (crop_xyxy[2:] - crop_xyxy[:2]).tolist()
    x0, y0, x1, y1 = (turn.box_xyxy - start).tolist()
    near = turn.extents(others_xyxy) - start
    near = near[(near[:, :2] < [width, height]).all(1) & (near[:, 2:] > 0).all(1)]
    small = Photo(
        record=replace(photo.record, width=width, height=height),
        boxes=(replace(annotation, box_xyxy=(x0, y0, x1, y1), corners=None),),
        source=turn.cut(pixels, crop_xyxy),
        company_xyxy=near,
    )
    home = Home(
        record=photo.record, annotation=annotation, corners=corners, turn=turn, crop_xyxy=crop_xyxy
    )
    return Part(photo=small, places=(place,), home=home)


def upright_outcomes(
    outcomes: Callable[[Iterable[Photo]], Iterator[Outcome]], photos: Iterable[Photo]
) -> Iterator[Outcome]:
    """One outcome per box, in order, whatever way the boxes are turned.

    Takes photos from the iterable only as the labeler needs them.

    Args:
        outcomes: A labeler's, of photos whose boxes are upright.
        photos: What is to be labeled.
    """
    expected: deque[tuple[int, Home | None]] = deque()

    def all_parts() -> Iterator[Photo]:
        before = 0
        for photo in photos:
            for part in upright_parts(photo):
                expected.extend((before + place, part.home) for place in part.places)
                yield part.photo
            before += len(photo.boxes)

    ahead: dict[int, Outcome] = {}
    following = 0
    for outcome in outcomes(all_parts()):
        number, home = expected.popleft()
        ahead[number] = outcome if home is None else home.bring_back(outcome)
        while following in ahead:
            yield ahead.pop(following)
            following += 1
