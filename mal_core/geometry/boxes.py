"""Boxes and crops: pure functions on numpy arrays, no files, no global randomness."""

import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

ALLOWED_OVERHANG = 2.0
"""Px by which real COCO boxes may reach over the image's border; they are clipped."""
ROUNDING = 1e-6
"""Px of overhang that come from adding two decimal fractions and mean nothing."""
SMALL_AREA = 32.0**2
"""Boxes below this area (px^2) are small."""
MEDIUM_AREA = 96.0**2
"""Boxes from SMALL_AREA up to below this area (px^2) are medium, all others large."""
SIZE_NAMES = ("small", "medium", "large")


def box_area(box_xyxy: FloatArray) -> FloatArray:
    """Areas of boxes, float64: px, shape (..., 4) -> px^2, shape (...,)."""
    return np.asarray((box_xyxy[..., 2] - box_xyxy[..., 0]) * (box_xyxy[..., 3] - box_xyxy[..., 1]))


def size_bin(area: FloatArray | float) -> IntArray:
    """Size of boxes or masks; the bins are half-open (spec section 13.3).

    Args:
        area: In px^2, any shape.

    Returns:
        Indices into SIZE_NAMES, int64, same shape.
    """
    return np.asarray(np.digitize(area, (SMALL_AREA, MEDIUM_AREA)), dtype=np.int64)


def expand_box(box_xyxy: FloatArray, margins_ltrb: FloatArray) -> IntArray:
    """Enlarge boxes to crops by a share of their half-size on every side.

    Args:
        box_xyxy: Boxes in px, shape (..., 4).
        margins_ltrb: Growth of left, top, right, bottom as a fraction of the
            half-size, shape broadcastable to (..., 4), >= 0.

    Returns:
        Integer crop boxes, half-open, shape (..., 4). They may leave the image.

    Source: spec 2.3 (box expansion of the paper).
    """
    box = np.asarray(box_xyxy, dtype=np.float64)
    margins = np.asarray(margins_ltrb, dtype=np.float64)
    start, end = box[..., :2], box[..., 2:]
    centre = (start + end) / 2
    low = np.floor(centre - (centre - start) * (1 + margins[..., :2]))
    high = np.ceil(centre + (end - centre) * (1 + margins[..., 2:]) + 1)
    return np.concatenate([low, high], axis=-1).astype(np.int64)


def sample_margins(generator: np.random.Generator, upper: float) -> FloatArray:
    """Random margins for one training crop, shape (4,) in left, top, right, bottom order.

    One expansion budget per axis is split between the two opposite sides, so a
    crop grows by 30 % on average with `upper` = 1.2.

    Source: spec 2.3, gated form.
    """
    size = generator.uniform(0.0, upper, 4)
    gate_x, gate_y = generator.uniform(0.0, 1.0, 2)
    return size * np.array([gate_x, gate_y, 1 - gate_x, 1 - gate_y])


def fixed_margins(test_expansion: float) -> FloatArray:
    """Margins of a crop at labeling, float64, shape (4,); 0.6 grows it by 30 % (spec 2.3)."""
    return np.full(4, 0.5 * test_expansion)


def interval_coverage(start: float, end: float, num_cells: int) -> NDArray[np.float32]:
    """Share of each of `num_cells` unit cells covered by [start, end), shape (num_cells,)."""
    edges = np.arange(num_cells)
    covered = np.minimum(end, edges + 1) - np.maximum(start, edges)
    return np.clip(covered, 0.0, 1.0).astype(np.float32)


def box_mask_in_crop(
    box_xyxy: FloatArray,
    crop_xyxy: IntArray,
    num_cells: int,
    *,
    period: tuple[int, int] | None = None,
) -> NDArray[np.float32]:
    """Filled box on a grid laid over its crop.

    Border cells carry the covered share. Cells outside the image stay 0 because
    a box never leaves its image (spec Q7, Q35).

    Args:
        box_xyxy: Box in px, shape (4,).
        crop_xyxy: Crop in px of the same image, shape (4,).
        num_cells: Side of the grid.
        period: Width and height of the image, to repeat the box where the crop leaves it,
            as the reference repeats its box mask along with the image (spec Q7).

    Returns:
        Shares in [0, 1], float32, shape (num_cells, num_cells).
    """
    crop = crop_xyxy.astype(np.float64)
    scale = num_cells / (crop[2:] - crop[:2])
    x0, y0 = (box_xyxy[:2] - crop[:2]) * scale
    x1, y1 = (box_xyxy[2:] - crop[:2]) * scale
    if period is None:
        rows = interval_coverage(y0, y1, num_cells)
        columns = interval_coverage(x0, x1, num_cells)
    else:
        step_x, step_y = np.array(period) * scale
        rows = _repeated_coverage(y0, y1, step_y, num_cells)
        columns = _repeated_coverage(x0, x1, step_x, num_cells)
    return np.outer(rows, columns)


def _repeated_coverage(
    start: float, end: float, step: float, num_cells: int
) -> NDArray[np.float32]:
    first, last = -math.ceil(end / step), math.ceil((num_cells - start) / step)
    shifts = range(first, last + 1)
    total = sum(interval_coverage(start + k * step, end + k * step, num_cells) for k in shifts)
    return np.minimum(total, 1.0).astype(np.float32)


def pixel_box(box_xyxy: FloatArray, height: int, width: int) -> tuple[int, int, int, int]:
    """The pixels that a box (4,) in px touches, as a half-open integer box inside the image."""
    x0, y0 = np.floor(box_xyxy[:2]).astype(int)
    x1, y1 = np.ceil(box_xyxy[2:]).astype(int)
    return max(int(x0), 0), max(int(y0), 0), min(int(x1), width), min(int(y1), height)
