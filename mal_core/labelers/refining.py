"""Masks of any origin refined by the colors of their photos, and by our network where there is one.

A mask says yes or no; how far it may be doubted grows toward its outline. So it becomes log-odds
that the refinement of our own labels (`mal_core.labeling.refinement`) can take, and that those of
the network can be added to.

Shape letters: H W px of a photo, h w px of a box.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mal_core.config import RefinementConfig
from mal_core.geometry.boxes import pixel_box
from mal_core.geometry.masks import segmentation_to_mask
from mal_core.geometry.rle import crop_mask_to_rle
from mal_core.labeling.mask_writer import MaskWriter
from mal_core.labeling.protocol import Photo, corners_of
from mal_core.labeling.upright import seen_in_frame
from mal_core.labeling.views import DrawnMask, refined_in_photo, views_of
from mal_core.quality.evidence import components_of
from mal_core.quality.patch import Mask
from mal_core.quality.score import Quality, default_model, quality_of
from mal_core.types import (
    BoxAnnotation,
    BoxDataset,
    Corners,
    ImageRecord,
    Outcome,
    PseudoLabel,
)

Map = NDArray[np.float32]

DOUBT = 0.3
"""Distance from its outline at which a mask of no trust is as sure as it gets, relative to its
box's side; trust shortens it."""
SURE = 3.0
"""Log-odds there, times the odds of the trust."""
BEFORE = "before"
"""Name under which a label carries the score of the mask that came in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """The masks that came in, by annotation id, as their file has them.

    Attributes:
        rotated: Corners of the rotated boxes, and their photos, by annotation id.
    """

    masks: Mapping[int, object]
    rotated: Mapping[int, tuple[Corners, ImageRecord]] = field(default_factory=dict)

    def in_box(self, box: BoxAnnotation, record: ImageRecord) -> Mask:
        """The mask at the pixels that its box touches, shape (h, w).

        Args:
            box: In its photo, or in the small photo of a rotated box.
            record: That photo.

        Raises:
            MaskError: It is no mask of an image of that size.
        """
        x0, y0, x1, y1 = pixel_box(np.array(box.box_xyxy), record.height, record.width)
        given = self.masks[box.annotation_id]
        home = self.rotated.get(box.annotation_id)
        if home is None:
            whole = segmentation_to_mask(given, record.height, record.width)
        else:
            corners, photo = home
            whole = seen_in_frame(segmentation_to_mask(given, photo.height, photo.width), corners)
        return np.asarray(whole[y0:y1, x0:x1] > 0)


class Refiner:
    """Labels boxes with better versions of masks that are there already.

    A mask of which nothing lies in its box, or would be left there, comes out empty.

    Args:
        given: The masks.
        config: Of the refinement.
        writer: Our network, to be heard beside each mask; None: colors alone.
        trust: How far the masks are believed, in (0, 1).
    """

    crowds_as_objects = False

    def __init__(
        self, given: Given, config: RefinementConfig, writer: MaskWriter | None, *, trust: float
    ) -> None:
        self.given = given
        self.trust = trust
        self.config = config
        self.writer = writer
        self.model = default_model("masks")

    def prepare(self, _dataset: BoxDataset, _folder: Path) -> None:
        """Nothing: all masks are there already."""

    def outcomes(self, photos: Iterable[Photo]) -> Iterator[Outcome]:
        """One label per box, in order; an empty one where nothing would be left."""
        for photo in (each.decoded() for each in photos):
            image = photo.pixels()
            corners = corners_of(photo.boxes)
            drawn = self._drawn(photo)
            for index, (box, own) in enumerate(zip(photo.boxes, drawn, strict=True)):
                others = np.delete(corners, index, axis=0)
                yield self._outcome(image, photo.record, box, own, others)

    def scored(self, _dataset: BoxDataset, labels: list[PseudoLabel]) -> list[PseudoLabel]:
        """The labels as they are: old and new masks are scored alike."""
        return labels

    def _drawn(self, photo: Photo) -> Iterator[DrawnMask | None]:
        if self.writer is None:
            yield from (None for _ in photo.boxes)
            return
        yield from self.writer.draw(views_of(photo, self.writer.config))

    def _outcome(
        self,
        image: NDArray[np.uint8],
        record: ImageRecord,
        box: BoxAnnotation,
        own: DrawnMask | None,
        others_xyxy: NDArray[np.float64],
    ) -> PseudoLabel:
        old = self.given.in_box(box, record)
        belief = mask_log_odds(old, self.trust)
        if own is not None:
            assert own.beliefs.network is not None  # noqa: S101 - draw_mask always gives it
            bound = self.config.network_bound
            belief = belief + own.beliefs.network.clip(-bound, bound)
        new = refined_in_photo(image, record, np.array(box.box_xyxy), belief, self.config) > 0
        before = self._quality(image, box, old, others_xyxy)
        if not old.any() or not new.any():
            return _label(box, record, np.zeros_like(old), before, before.score)
        after = self._quality(image, box, new, others_xyxy)
        return _label(box, record, new, after, before.score)

    def _quality(
        self,
        image: NDArray[np.uint8],
        box: BoxAnnotation,
        mask: Mask,
        others_xyxy: NDArray[np.float64],
    ) -> Quality:
        found = components_of(image, np.array(box.box_xyxy), mask, others_xyxy)
        return quality_of(found, self.model)


def _label(
    box: BoxAnnotation, record: ImageRecord, mask: Mask, quality: Quality, before: float
) -> PseudoLabel:
    origin = pixel_box(np.array(box.box_xyxy), record.height, record.width)[:2]
    return PseudoLabel(
        annotation_id=box.annotation_id,
        rle=crop_mask_to_rle(mask, origin, record.height, record.width),
        mask_area=int(np.count_nonzero(mask)),
        score=quality.score,
        interval=quality.interval,
        components={**quality.components, BEFORE: before},
    )


def mask_log_odds(mask: Mask | NDArray[Any], trust: float) -> Map:
    """A mask as log-odds that grow with the distance from its outline.

    What lies beyond the array is background: a filled box has its sides for an outline.

    Args:
        mask: Shape (h, w).
        trust: In (0, 1): the more, the nearer to the outline it is sure, and the surer.

    Returns:
        Float32, at most SURE times the odds of the trust on either side of 0, shape (h, w).
    """
    inside = np.pad(np.ascontiguousarray(mask).astype(np.uint8), 1)
    sure = SURE * trust / (1 - trust)
    reach = max(1.0, DOUBT * (1 - trust) * float(np.sqrt(mask.size)))
    into = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    away = cv2.distanceTransform(1 - inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    steps = np.where(inside > 0, into - 0.5, 0.5 - away)[1:-1, 1:-1]
    return np.asarray((sure * steps / reach).clip(-sure, sure), dtype=np.float32)
