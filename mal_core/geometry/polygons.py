"""Masks as polygons, holes and parts included, and back again as their readers draw them.

A contour runs a quarter of a pixel inside the outermost pixels' edges. Both ways in which tools
fill polygons, by pixel centres (pycocotools) and by truncated corners (OpenCV), then give the
mask back; an outline on the edges themselves would grow by a pixel in the second.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mal_core.geometry.masks import mask_to_rle
from mal_core.types import Rle

Points = NDArray[np.float64]


def mask_to_polygons(mask: NDArray[np.uint8]) -> list[Points]:
    """One closed polygon per part of a mask, the largest first.

    A hole is joined to the outline around it, there and back, by a line of no width; readers that
    take a list of polygons as their union keep holes so.

    Args:
        mask: 0/1, shape (H, W).

    Returns:
        Points (x, y) in px, float64, shape (N, 2) each, N >= 3; empty for an empty mask.
    """
    return [_joined(rings) for rings in _rings(mask)]


def mask_to_polygon(mask: NDArray[np.uint8]) -> Points:
    """One closed polygon through the corners of the outermost pixels of a mask.

    Parts and holes are joined at their nearest points by lines of no width, which readers that
    draw outlines (OpenCV) make a pixel wide.

    Args:
        mask: 0/1, shape (H, W), with at least one pixel.

    Returns:
        Points (x, y) in px, float64, shape (N, 2), N >= 3.
    """
    return _joined([ring for rings in _rings(mask) for ring in rings])


def count_parts(mask: NDArray[np.uint8]) -> tuple[int, int]:
    """How many parts (touching at corners counts) and how many holes a 0/1 mask (H, W) has."""
    rings = _rings(mask)
    return len(rings), sum(len(one) - 1 for one in rings)


def polygons_to_rle(polygons: Sequence[Points], height: int, width: int) -> Rle:
    """The union of polygons as pycocotools draws them.

    Args:
        polygons: Points (x, y) in px, shape (N, 2) each.
        height, width: Of the image, px.
    """
    flat = [polygon.ravel().tolist() for polygon in polygons]
    rle = coco_mask.merge(coco_mask.frPyObjects(flat, height, width))
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}


def drawn_polygon_to_rle(polygon: Points, height: int, width: int) -> Rle:
    """A polygon (N, 2), px, as OpenCV draws it at corners cut to whole pixels, outline included."""
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [polygon.astype(np.int32)], color=(1,))
    return mask_to_rle(mask)


def _rings(mask: NDArray[np.uint8]) -> list[list[Points]]:
    """Per part its outer contour and those of its holes, in px of the image."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return []
    y, x = rows[0], columns[0]
    inside = mask[y : rows[-1] + 1, x : columns[-1] + 1]
    # A pixel has an area, a contour through pixel centres none: each becomes four.
    doubled = inside.repeat(2, axis=0).repeat(2, axis=1)
    contours, tree = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parts: dict[int, list[Points]] = {}
    for index, parent in sorted(enumerate(tree[0, :, 3].tolist()), key=lambda pair: pair[1] >= 0):
        ring = (contours[index].reshape(-1, 2) + 0.5) / 2 + [x, y]
        parts.setdefault(index if parent < 0 else parent, []).append(ring)
    return sorted(parts.values(), key=lambda rings: -cv2.contourArea(rings[0].astype(np.float32)))


def _joined(rings: Sequence[Points]) -> Points:
    joined = rings[0]
    if len(rings) == 1:
        return np.asarray(joined, dtype=np.float64)
    from scipy.spatial import KDTree  # costs every process that joins nothing, too

    for ring in sorted(rings[1:], key=len, reverse=True):
        distances, places = KDTree(joined).query(ring)
        there = int(np.argmin(distances))
        here = int(places[there])
        loop = np.concatenate([ring[there:], ring[: there + 1]])
        joined = np.concatenate([joined[: here + 1], loop, joined[here:]])
    return np.asarray(joined, dtype=np.float64)
