"""What the outline, the colors and the box say about a mask, whoever drew it.

Each function gives one or more components by name; most lie in [0, 1].

Letters: N boxes, H W px of the image, h w px of a box.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from mal_core.quality.beliefs import Beliefs, describe_beliefs
from mal_core.quality.patch import Mask, Patch, cut_patch, mask_iou

BINS = 12
"""Bins of each Lab axis."""
FEWEST = 1e-3
EDGE_CELLS = 2
"""An outline lies on an edge of the photo that is at most so many cells away."""
MAX_LOG_ODDS = 4.0
DIGITS = 4
"""Of what a file holds."""

Components = dict[str, float]


def components_of(
    image: NDArray[np.uint8],
    box_xyxy: NDArray[np.float64],
    box_mask: Mask,
    others_xyxy: NDArray[np.float64],
    beliefs: Beliefs | None = None,
) -> dict[str, float]:
    """Everything that is known about a mask.

    Args:
        image: RGB, uint8, shape (H, W, 3).
        box_xyxy: Its box in px, inside the image, shape (4,).
        box_mask: The mask at the pixels that the box touches, shape (h, w).
        others_xyxy: The other boxes of the image, shape (N, 4).
        beliefs: What a labeler thinks of these pixels.

    Returns:
        Components by name, rounded, so that a file holds just what the score was made from.
    """
    patch = cut_patch(image, box_xyxy, box_mask)
    found = {
        **describe_shape(patch),
        **describe_colors(patch),
        **describe_place(patch, box_xyxy, image.shape, others_xyxy),
    }
    if beliefs is not None:
        found |= describe_beliefs(patch.in_box, beliefs)
    return {name: round(float(value), DIGITS) for name, value in found.items()}


def describe_shape(patch: Patch) -> Components:
    """Area, outline and parts of the mask, and how it meets the sides of its box.

    fill: share of the box that is mask. gap, gaps: largest and mean distance of the mask from a
    side, relative to the box. flush: mean share of a side's length that is mask. compact: 1 for
    a disk. solid: share of the convex hull. fragments: share outside the largest part. holes:
    relative to the mask.
    """
    mask = patch.in_box
    area = int(np.count_nonzero(mask))
    if area == 0:
        return {
            "fill": 0.0,
            "gap": 1.0,
            "gaps": 1.0,
            "flush": 0.0,
            "compact": 0.0,
            "solid": 0.0,
            "fragments": 1.0,
            "holes": 0.0,
        }
    gaps = _gaps(mask)
    flush = [float(line.mean()) for line in (mask[:, 0], mask[0], mask[:, -1], mask[-1])]
    return {
        "fill": area / mask.size,
        "gap": max(gaps),
        "gaps": float(np.mean(gaps)),
        "flush": float(np.mean(flush)),
        **_outline(mask, area),
        **_parts(mask, area),
    }


def _gaps(mask: Mask) -> list[float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = mask.shape
    return [
        columns[0] / width,
        rows[0] / height,
        (width - 1 - columns[-1]) / width,
        (height - 1 - rows[-1]) / height,
    ]


def _outline(mask: Mask, area: int) -> Components:
    padded = np.pad(mask.astype(np.uint8), 1)
    contours, _ = cv2.findContours(padded, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    # A contour runs through the centers of the outermost cells: half a cell short on each side.
    length = sum(cv2.arcLength(contour, closed=True) + 4 for contour in contours)
    hull = cv2.convexHull(np.concatenate(contours))
    hull_area = cv2.contourArea(hull) + cv2.arcLength(hull, closed=True) / 2 + 1
    return {
        "compact": min(1.0, float(4 * np.pi * area / length**2) * 1.2),
        "solid": min(1.0, area / hull_area),
    }


def _parts(mask: Mask, area: int) -> Components:
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    sizes = np.bincount(labels.ravel(), minlength=count)[1:]
    ground = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    num_grounds, grounds = cv2.connectedComponents(ground, connectivity=4)
    around = grounds[0, 0]
    holes = sum(
        int(size)
        for label, size in enumerate(np.bincount(grounds.ravel(), minlength=num_grounds))
        if label not in (0, around)
    )
    return {"fragments": 1 - float(sizes.max()) / area, "holes": min(1.0, holes / area)}


def describe_colors(patch: Patch) -> Components:
    """How the colors change across the outline.

    contrast: 1 - overlap of the colors inside and outside. edges: mean rank of the strongest edge
    near each cell of the outline among all cells of the box; 0.5 is chance. colors: IoU with what
    a color model of the mask itself makes of it.
    """
    lab = cv2.cvtColor(patch.pixels, cv2.COLOR_RGB2LAB)
    inside, outside = patch.mask, ~patch.mask
    if not inside.any() or not outside.any():
        return {"contrast": 0.0, "edges": 0.5, "colors": 0.0}
    bins = _bins(lab)
    near, far = _density(bins, inside), _density(bins, outside)
    overlap = float(np.sqrt(near * far).sum())
    odds = np.log((near + FEWEST) / (far + FEWEST))[bins].clip(-MAX_LOG_ODDS, MAX_LOG_ODDS)
    return {
        "contrast": 1 - min(1.0, overlap),
        "edges": _edge_rank(lab, patch),
        "colors": _color_change(odds, patch),
    }


def _bins(lab: NDArray[np.uint8]) -> NDArray[np.int64]:
    index = lab.astype(np.int64) * BINS // 256
    return np.asarray((index[..., 0] * BINS + index[..., 1]) * BINS + index[..., 2])


def _density(bins: NDArray[np.int64], where: Mask) -> NDArray[np.float64]:
    counts = np.bincount(bins[where], minlength=BINS**3).astype(np.float64)
    smooth = cv2.blur(counts.reshape(BINS, BINS * BINS), (3, 3), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(smooth.ravel() / max(float(smooth.sum()), 1e-9))


def _edge_rank(lab: NDArray[np.uint8], patch: Patch) -> float:
    values = lab.astype(np.float32)
    steep = np.zeros(values.shape[:2], dtype=np.float32)
    for channel in range(3):
        layer = values[..., channel]
        steep += np.square(cv2.Sobel(layer, cv2.CV_32F, 1, 0, ksize=3))
        steep += np.square(cv2.Sobel(layer, cv2.CV_32F, 0, 1, ksize=3))
    steep = cv2.dilate(steep, np.ones((EDGE_CELLS + 1, EDGE_CELLS + 1), np.uint8))
    outline = _inner_outline(patch)
    if not outline.any():
        return 0.5
    everything = np.sort(steep[patch.box], axis=None)
    ranks = np.searchsorted(everything, steep[outline]) / everything.size
    return float(ranks.mean())


def _inner_outline(patch: Patch) -> Mask:
    """Cells where the mask ends, but not because its box or the image ends."""
    solid = cv2.erode(
        patch.mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE
    )
    outline = patch.mask & (solid == 0)
    inner = np.zeros(outline.shape, dtype=bool)
    rows, columns = patch.box
    inner[rows.start + 1 : rows.stop - 1, columns.start + 1 : columns.stop - 1] = True
    return np.asarray(outline & inner)


def _color_change(odds: NDArray[np.float64], patch: Patch) -> float:
    side = max(3, max(patch.in_box.shape) // 6 | 1)
    prior = cv2.GaussianBlur(patch.mask.astype(np.float32), (side, side), 0).clip(0.02, 0.98)
    smooth = cv2.blur(odds.astype(np.float32), (3, 3))
    recolored = np.log(prior / (1 - prior)) + smooth > 0
    return mask_iou(recolored[patch.box], patch.in_box)


def describe_place(
    patch: Patch,
    box_xyxy: NDArray[np.float64],
    image_shape: tuple[int, ...],
    others_xyxy: NDArray[np.float64],
) -> Components:
    """Size and company of the box.

    size: log2 of the square root of its area in px, a tenth of it. share: of the image's side.
    narrow: |log2| of the ratio of its sides, a quarter of it. border: share of its sides at the
    border of the image. crowded: share of the box under other boxes that are not much larger.
    claimed: the same share of the mask.

    Args:
        box_xyxy: The box in px, shape (4,).
        image_shape: Height and width of the image, px.
        others_xyxy: The other boxes of the image in px, shape (N, 4).
    """
    width, height = float(box_xyxy[2] - box_xyxy[0]), float(box_xyxy[3] - box_xyxy[1])
    side = np.sqrt(max(width * height, 1.0))
    crowded, claimed = _claims(patch, box_xyxy, others_xyxy)
    return {
        "size": float(np.log2(side)) / 10,
        "share": float(side / np.sqrt(image_shape[0] * image_shape[1])),
        "narrow": min(1.0, abs(float(np.log2(max(width, 1.0) / max(height, 1.0)))) / 4),
        "border": sum(patch.at_border) / 4,
        "crowded": crowded,
        "claimed": claimed,
    }


LARGER = 4.0
"""A box with so many times the area is what the object stands on or in, not a neighbor."""


def _claims(
    patch: Patch, box_xyxy: NDArray[np.float64], others_xyxy: NDArray[np.float64]
) -> tuple[float, float]:
    mask = patch.in_box
    covered = np.zeros(mask.shape, dtype=bool)
    scale = np.array(mask.shape[::-1]) / np.maximum(box_xyxy[2:] - box_xyxy[:2], 1e-6)
    for other in _neighbors(box_xyxy, others_xyxy):
        x0, y0 = np.round((other[:2] - box_xyxy[:2]) * scale).astype(int).clip(0)
        x1, y1 = np.round((other[2:] - box_xyxy[:2]) * scale).astype(int).clip(0)
        covered[y0:y1, x0:x1] = True
    area = np.count_nonzero(mask)
    claimed = np.count_nonzero(covered & mask) / area if area else 0.0
    return float(covered.mean()), float(claimed)


def _neighbors(
    box_xyxy: NDArray[np.float64], others_xyxy: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Those of the other boxes that overlap with a box and are not much larger."""
    start, end = others_xyxy[:, :2], others_xyxy[:, 2:]
    overlaps = ((start < box_xyxy[2:]) & (end > box_xyxy[:2])).all(1)
    areas = (end - start).prod(1)
    return others_xyxy[overlaps & (areas <= LARGER * (box_xyxy[2:] - box_xyxy[:2]).prod())]
