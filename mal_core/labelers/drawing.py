"""What every labeler is to the rest: a photo and its boxes in, one drawing per box out."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mal_core.geometry.rle import crop_mask_to_rle
from mal_core.labeling.protocol import Photo
from mal_core.types import (
    BoxAnnotation,
    BoxDataset,
    ImageRecord,
    Outcome,
    PseudoLabel,
    SkippedBox,
    SkipReason,
)

SURE = 6.0
"""Log-odds of a pixel of a labeler that knows only yes and no."""
PixelBox = tuple[int, int, int, int]
Map = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """What a labeler drew for one box.

    Attributes:
        window_xyxy: The pixels of the photo that it looked at, half-open; all others are
            background.
        logits: Log-odds of foreground there, float32, shape (y1 - y0, x1 - x0); the mask is
            where they are positive.
        confidence: What the labeler thinks of this mask itself, in [0, 1], as an IoU.
    """

    window_xyxy: PixelBox
    logits: Map
    confidence: float

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The mask in its window, shape (y1 - y0, x1 - x0)."""
        return self.logits > 0


class Drawer(Protocol):
    """A labeler: it has seen whatever it needed to see before."""

    def draw(self, image: NDArray[np.uint8], boxes: Sequence[BoxAnnotation]) -> Iterator[Drawing]:
        """One drawing per box, in order; the same photo and boxes give the same bits.

        Args:
            image: RGB, uint8, shape (H, W, 3).
            boxes: Of this photo, with an area, in px.
        """


class DrawnPhotos:
    """A labeler as labeling asks for it: photo by photo, outcomes in full-image RLE."""

    crowds_as_objects = False

    def __init__(self, drawer: Drawer) -> None:
        self.drawer = drawer

    def prepare(self, _dataset: BoxDataset, _folder: Path) -> None:
        """Nothing: a drawer looks at one photo at a time."""

    def outcomes(self, photos: Iterable[Photo]) -> Iterator[Outcome]:
        """One outcome per box, in order."""
        for photo in photos:
            drawings = self.drawer.draw(photo.pixels(), photo.boxes)
            for box, drawing in zip(photo.boxes, drawings, strict=True):
                yield to_outcome(box, photo.record, drawing)

    def scored(self, _dataset: BoxDataset, labels: list[PseudoLabel]) -> list[PseudoLabel]:
        """The labels as they are: their scores are the labeler's own."""
        return labels


def to_outcome(box: BoxAnnotation, record: ImageRecord, drawing: Drawing) -> Outcome:
    """A drawing as a label of its image, or as a skip where it is empty."""
    mask = drawing.mask
    area = int(np.count_nonzero(mask))
    if area == 0:
        return SkippedBox(
            annotation_id=box.annotation_id, image_id=box.image_id, reason=SkipReason.EMPTY_MASK
        )
    origin = drawing.window_xyxy[:2]
    return PseudoLabel(
        annotation_id=box.annotation_id,
        rle=crop_mask_to_rle(mask, origin, record.height, record.width),
        mask_area=area,
        score=round(float(np.clip(drawing.confidence, 0, 1)), 6),
    )


def flat(mask: NDArray[np.bool_]) -> Map:
    """A mask as log-odds: SURE inside, -SURE outside; bool (H, W) -> float32 (H, W)."""
    return np.where(mask, np.float32(SURE), np.float32(-SURE))
