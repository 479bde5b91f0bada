"""The part of a photo that a mask is judged in: its box with some surroundings, on a small grid.

Shape letters: H W px of the image, h w cells of the grid, of which b c lie in the box.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mal_core.geometry.boxes import pixel_box

GRID = 64
"""Longer side of the grid: details below are those of the image's noise."""
MARGIN = 0.2
"""Surroundings on each side, as a share of the box's side."""

Mask = NDArray[np.bool_]
Map = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Patch:
    """A box and its surroundings.

    Attributes:
        pixels: RGB, uint8, shape (h, w, 3).
        mask: True on the object, shape (h, w); False outside of the box.
        box: Rows and columns of the box on the grid.
        at_border: Whether the box ends at the border of the image: left, top, right, bottom.
    """

    pixels: NDArray[np.uint8]
    mask: Mask
    box: tuple[slice, slice]
    at_border: tuple[bool, bool, bool, bool]

    @property
    def in_box(self) -> Mask:
        """The mask's cells of the box, shape (b, c)."""
        return self.mask[self.box]


def cut_patch(
    image: NDArray[np.uint8], box_xyxy: NDArray[np.float64], box_mask: Mask | NDArray[np.uint8]
) -> Patch:
    """Cut a box with its surroundings out of a photo and shrink it to the grid.

    Args:
        image: RGB, uint8, shape (H, W, 3).
        box_xyxy: Box in px, shape (4,), inside the image.
        box_mask: The mask at the pixels that the box touches (see `pixel_box`), shape (y, x).
    """
    height, width = image.shape[:2]
    x0, y0, x1, y1 = pixel_box(box_xyxy, height, width)
    side_x, side_y = (max(2, round(MARGIN * side)) for side in (x1 - x0, y1 - y0))
    left, top = max(0, x0 - side_x), max(0, y0 - side_y)
    right, bottom = min(width, x1 + side_x), min(height, y1 + side_y)
    scale = min(1.0, GRID / max(x1 - x0, y1 - y0))
    columns, rows = _cells(x0 - left, x1 - left, scale), _cells(y0 - top, y1 - top, scale)
    size = (
        max(columns.stop, round((right - left) * scale)),
        max(rows.stop, round((bottom - top) * scale)),
    )
    pixels = cv2.resize(
        np.ascontiguousarray(image[top:bottom, left:right]), size, interpolation=cv2.INTER_AREA
    )
    mask = np.zeros(size[::-1], dtype=bool)
    mask[rows, columns] = shrunk(box_mask, (rows.stop - rows.start, columns.stop - columns.start))
    border = (x0 <= 1, y0 <= 1, x1 >= width - 1, y1 >= height - 1)
    return Patch(pixels=pixels, mask=mask, box=(rows, columns), at_border=border)


def _cells(start: int, end: int, scale: float) -> slice:
    first = round(start * scale)
    return slice(first, first + max(1, round((end - start) * scale)))


def shrunk(box_mask: Mask | NDArray[np.uint8], shape: tuple[int, int]) -> Mask:
    """A mask, shape (H, W), on a coarser grid, shape (h, w): where it covers half of a cell."""
    values = np.ascontiguousarray(box_mask).astype(np.float32)
    if values.shape == shape:
        return values >= 0.5
    return np.asarray(cv2.resize(values, shape[::-1], interpolation=cv2.INTER_AREA) >= 0.5)


def shrunk_map(values: Map, shape: tuple[int, int]) -> Map:
    """A map, shape (H, W), on a coarser grid, shape (h, w), by averages."""
    if values.shape == shape:
        return values
    return np.asarray(cv2.resize(values, shape[::-1], interpolation=cv2.INTER_AREA))


def sigmoid(logits: Map) -> Map:
    """Probabilities of log-odds of any shape, shaped like them."""
    return np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float32)


def mask_iou(a: Mask, b: Mask) -> float:
    """Intersection over union; 1 when both are empty.

    Args:
        a: Shape (h, w).
        b: Shape (h, w).
    """
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 1.0
