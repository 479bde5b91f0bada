"""Drawings of several labelers made comparable: one window, and scores of one kind.

Shape letters: H W px of a photo, h w px of a window around a box.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mal_core.geometry.boxes import pixel_box
from mal_core.labelers.drawing import SURE, Drawing, Map, PixelBox
from mal_core.labeling.protocol import Photo, corners_of
from mal_core.quality.evidence import components_of
from mal_core.quality.patch import Mask
from mal_core.quality.score import Quality, default_model, quality_of
from mal_core.types import BoxAnnotation


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What one labeler drew for a box, beside what the others did.

    Attributes:
        logits: Log-odds in the window that all of them share, shape (h, w), at most SURE.
        quality: Score of the mask in its box, by the photo alone.
    """

    logits: Map
    quality: Quality

    @property
    def mask(self) -> Mask:
        """The mask in the window, shape (h, w)."""
        return self.logits > 0


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedBox:
    """A box with the drawings of all labelers, in their order.

    Attributes:
        window: The pixels of the photo that the drawings are given at, half-open.
        drawings: None where a labeler found nothing.
    """

    box: BoxAnnotation
    window: PixelBox
    drawings: tuple[Judged | None, ...]


class Judge:
    """Scores masks of one photo.

    Args:
        photo: With its boxes and their company.

    Attributes:
        photo: The same, its pixels at hand.
        image: Those pixels, RGB, uint8, shape (H, W, 3).

    Raises:
        DatasetError: The photo cannot be read.
    """

    def __init__(self, photo: Photo) -> None:
        self.photo = photo.decoded()
        self.image = self.photo.pixels()
        self.record = photo.record
        self._ids = np.array([box.annotation_id for box in photo.boxes])
        self._corners = corners_of(photo.boxes)
        self._company = photo.company_xyxy
        self._model = default_model("masks")

    def judged(self, drawn: Sequence[Iterable[Drawing]]) -> Iterator[JudgedBox]:
        """The boxes of the photo as all labelers have drawn them, in order.

        Args:
            drawn: What each labeler draws for them, in order.
        """
        for box, drawings in zip(self.photo.boxes, zip(*drawn, strict=True), strict=True):
            window = self._window(box, drawings)
            found = tuple(self._judged(box, drawing, window) for drawing in drawings)
            yield JudgedBox(box=box, window=window, drawings=found)

    def quality(self, box: BoxAnnotation, mask: Mask, window: PixelBox) -> Quality:
        """Score of a mask, given in a window that holds its box, shape (h, w)."""
        corners = np.array(box.box_xyxy)
        x0, y0, x1, y1 = pixel_box(corners, self.record.height, self.record.width)
        rows, columns = slice(y0 - window[1], y1 - window[1]), slice(x0 - window[0], x1 - window[0])
        others = np.concatenate([self._corners[self._ids != box.annotation_id], self._company])
        return quality_of(
            components_of(self.image, corners, mask[rows, columns], others), self._model
        )

    def _window(self, box: BoxAnnotation, drawings: Sequence[Drawing]) -> PixelBox:
        own = pixel_box(np.array(box.box_xyxy), self.record.height, self.record.width)
        all_of_them = np.array([own, *(drawing.window_xyxy for drawing in drawings)])
        x0, y0 = all_of_them[:, :2].min(0).tolist()
        x1, y1 = all_of_them[:, 2:].max(0).tolist()
        return x0, y0, x1, y1

    def _judged(self, box: BoxAnnotation, drawing: Drawing, window: PixelBox) -> Judged | None:
        x0, y0, x1, y1 = window
        left, top, right, bottom = drawing.window_xyxy
        logits = np.full((y1 - y0, x1 - x0), -SURE, dtype=np.float32)
        logits[top - y0 : bottom - y0, left - x0 : right - x0] = drawing.logits.clip(-SURE, SURE)
        if not (logits > 0).any():
            return None
        return Judged(logits=logits, quality=self.quality(box, logits > 0, window))
