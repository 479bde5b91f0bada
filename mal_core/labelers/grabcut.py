"""GrabCut from a box (Rother et al., 2004), as OpenCV has it: two color models and a graph cut."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mal_core.config.labelers import MemberConfig
from mal_core.geometry.boxes import expand_box, fixed_margins, pixel_box
from mal_core.labelers.drawing import Drawing, PixelBox, flat
from mal_core.types import BoxAnnotation

LONGEST_SIDE = 512
"""Of the crop that is cut, px: the graph has a node per pixel."""
UNKNOWN_IOU = 0.5
"""Confidence where GrabCut could not be run."""


class GrabCut:
    """Cuts the object of each box out of a crop that shows its surroundings."""

    def __init__(self, config: MemberConfig) -> None:
        self.config = config

    def draw(self, image: NDArray[np.uint8], boxes: Sequence[BoxAnnotation]) -> Iterator[Drawing]:
        """One mask per box; the filled box where nothing is left, or nothing surrounds it.

        The confidence is the IoU of the mask with that of the first iteration: what the color
        models still move is in doubt.

        Args:
            image: RGB, uint8, shape (H, W, 3).
            boxes: In px of the image.
        """
        for box in boxes:
            yield self._cut(image, np.array(box.box_xyxy))

    def _cut(self, image: NDArray[np.uint8], box: NDArray[np.float64]) -> Drawing:
        height, width = image.shape[:2]
        window = pixel_box(box, height, width)
        margins = fixed_margins(self.config.surroundings)
        around = pixel_box(expand_box(box, margins).astype(np.float64), height, width)
        masks = self._masks(image, window, around)
        if masks is None or not masks[1].any():
            filled = np.ones((window[3] - window[1], window[2] - window[0]), dtype=bool)
            return Drawing(window_xyxy=window, logits=flat(filled), confidence=UNKNOWN_IOU)
        first, last = masks
        steady = np.count_nonzero(first & last) / np.count_nonzero(first | last)
        return Drawing(window_xyxy=window, logits=flat(last), confidence=float(steady))

    def _masks(
        self, image: NDArray[np.uint8], window: PixelBox, around: PixelBox
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
        """The mask in the window after the first iteration, and after the last."""
        left, top, right, bottom = around
        crop = np.ascontiguousarray(image[top:bottom, left:right, ::-1])
        scale = min(1.0, LONGEST_SIDE / max(crop.shape[:2]))
        if scale < 1:
            size = round((right - left) * scale), round((bottom - top) * scale)
            crop = cv2.resize(
                crop, (max(size[0], 1), max(size[1], 1)), interpolation=cv2.INTER_AREA
            )
        state = np.full(crop.shape[:2], cv2.GC_BGD, np.uint8)
        x0, y0, x1, y1 = _scaled(window, around, crop.shape[1], crop.shape[0])
        state[y0:y1, x0:x1] = cv2.GC_PR_FGD
        if not (state == cv2.GC_BGD).any():
            return None
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.setRNGSeed(0)  # k-means starts at random
        cv2.grabCut(crop, state, None, *models, 1, cv2.GC_INIT_WITH_MASK)
        first = _foreground(state, window, around)
        if self.config.iterations > 1 and first.any():
            cv2.grabCut(crop, state, None, *models, self.config.iterations - 1, cv2.GC_EVAL)
        return first, _foreground(state, window, around)


def _scaled(window: PixelBox, around: PixelBox, width: int, height: int) -> PixelBox:
    """The window in pixels of the crop, at least one."""
    steps = np.array([width / (around[2] - around[0]), height / (around[3] - around[1])] * 2)
    offset = np.array([around[0], around[1]] * 2)
    x0, y0, x1, y1 = np.round((np.array(window) - offset) * steps).astype(int).tolist()
    x0, y0 = min(x0, width - 1), min(y0, height - 1)
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def _foreground(state: NDArray[np.uint8], window: PixelBox, around: PixelBox) -> NDArray[np.bool_]:
    size = around[2] - around[0], around[3] - around[1]
    share = ((state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)).astype(np.float32)
    if share.shape != size[::-1]:
        share = cv2.resize(share, size, interpolation=cv2.INTER_LINEAR)
    rows = slice(window[1] - around[1], window[3] - around[1])
    columns = slice(window[0] - around[0], window[2] - around[0])
    return np.asarray(share[rows, columns] > 0.5)
