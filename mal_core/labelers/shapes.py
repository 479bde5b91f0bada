"""Labelers that need no photo at all: filled boxes and inscribed ellipses, the yardsticks."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mal_core.geometry.boxes import pixel_box
from mal_core.geometry.masks import inscribed_ellipse
from mal_core.labelers.drawing import Drawing, flat
from mal_core.types import BoxAnnotation

BOX_IOU, ELLIPSE_IOU = 0.55, 0.61
"""Mean IoU of such masks with human ones on COCO photos: all there is to know of them."""


class Boxes:
    """Every pixel that a box touches."""

    def draw(self, image: NDArray[np.uint8], boxes: Sequence[BoxAnnotation]) -> Iterator[Drawing]:
        """One filled box per box.

        Args:
            image: RGB, uint8, shape (H, W, 3).
            boxes: In px of the image.
        """
        height, width = image.shape[:2]
        for box in boxes:
            x0, y0, x1, y1 = pixel_box(np.array(box.box_xyxy), height, width)
            filled = np.ones((y1 - y0, x1 - x0), dtype=bool)
            yield Drawing(window_xyxy=(x0, y0, x1, y1), logits=flat(filled), confidence=BOX_IOU)


class Ellipses:
    """The pixels whose centers lie in the ellipse inscribed in a box."""

    def draw(self, image: NDArray[np.uint8], boxes: Sequence[BoxAnnotation]) -> Iterator[Drawing]:
        """One ellipse per box; a filled box where it holds no pixel's center.

        Args:
            image: RGB, uint8, shape (H, W, 3).
            boxes: In px of the image.
        """
        height, width = image.shape[:2]
        for box in boxes:
            corners = np.array(box.box_xyxy)
            window = pixel_box(corners, height, width)
            inside = inscribed_ellipse(corners, window)
            if not inside.any():
                inside[:] = True
            yield Drawing(window_xyxy=window, logits=flat(inside), confidence=ELLIPSE_IOU)
