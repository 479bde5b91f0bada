"""Boundary IoU: agreement of two masks near their outlines (Cheng et al., CVPR 2021)."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mal_core.geometry.rle import crop_mask_to_rle
from mal_core.types import Rle

Mask = NDArray[np.uint8]
WIDTH_RATIO = 0.02
"""Width of the band along an outline, as a share of the image's diagonal."""


def band_width(height: int, width: int) -> int:
    """Width of the band in px, at least one, for an image of this size."""
    return max(1, round(WIDTH_RATIO * math.hypot(height, width)))


def boundary(mask: Mask, pixels: int) -> Mask:
    """The pixels of a mask that lie at most `pixels` from its outside.

    What lies beyond the array counts as outside.

    Args:
        mask: 0/1, uint8, shape (H, W).
        pixels: Width of the band, px.

    Returns:
        0/1, uint8, shape (H, W).
    """
    kernel = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    inner = cv2.erode(mask, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(mask - inner, dtype=np.uint8)


def boundary_rle(rle: Rle, height: int, width: int) -> Rle:
    """The band along the outline of a full-image mask of this size, as RLE."""
    x, y, w, h = (int(value) for value in coco_mask.toBbox(rle))
    if not w or not h:
        return rle
    window = np.ascontiguousarray(coco_mask.decode(rle)[y : y + h, x : x + w])
    band = boundary(window, band_width(height, width)) > 0
    return crop_mask_to_rle(band, (x, y), height, width)


def boundary_iou(a: Mask, b: Mask) -> float:
    """IoU of the bands of two masks of one image; 0 when both are empty.

    Args:
        a, b: 0/1, uint8, shape (H, W).
    """
    rows, columns = np.flatnonzero((a | b).any(1)), np.flatnonzero((a | b).any(0))
    if not len(rows):
        return 0.0
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    pixels = band_width(*a.shape)
    one, other = (boundary(np.ascontiguousarray(mask[window]), pixels) > 0 for mask in (a, b))
    return float((one & other).sum() / (one | other).sum())
