"""Masks as files hold them: the COCO encodings, filled boxes and inscribed ellipses."""

import reprlib

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mal_core.errors import MaskError
from mal_core.geometry.boxes import pixel_box
from mal_core.geometry.mask_forms import read_mask
from mal_core.geometry.rle import crop_mask_to_rle
from mal_core.types import Rle


def segmentation_to_rle(segmentation: object, height: int, width: int) -> Rle:
    """Any COCO segmentation as compressed RLE with `str` counts.

    Args:
        segmentation: A mask in any of the forms of `mal_core.geometry.mask_forms`.
        height, width: Size of the image, px.

    Raises:
        MaskError: It is no mask, or not one of an image of that size.
    """
    mask = read_mask(segmentation, height, width)
    if mask is None:
        message = f"has no mask: segmentation={reprlib.repr(segmentation)}."
        raise MaskError(message)
    if isinstance(mask, list):
        rle = coco_mask.merge(coco_mask.frPyObjects(mask, height, width))
    elif isinstance(mask["counts"], list):
        rle = coco_mask.frPyObjects(mask, height, width)
    else:
        rle = mask
    counts = rle["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": [height, width], "counts": text}


def segmentation_to_mask(segmentation: object, height: int, width: int) -> NDArray[np.uint8]:
    """Any COCO segmentation as a 0/1 mask, uint8, shape (height, width).

    Raises:
        MaskError: It is no mask, or not one of an image of that size.
    """
    mask = coco_mask.decode(segmentation_to_rle(segmentation, height, width))
    return np.asarray(mask, dtype=np.uint8)


def mask_to_rle(mask: NDArray[np.bool_] | NDArray[np.uint8]) -> Rle:
    """A full-image mask (H, W), bool or 0/1, as compressed RLE with `str` counts."""
    height, width = mask.shape
    return crop_mask_to_rle(np.asarray(mask, dtype=bool), (0, 0), height, width)


def box_to_rle(box_xyxy: NDArray[np.float64], height: int, width: int) -> Rle:
    """The filled box (4,), px: every pixel of the image that it touches."""
    x0, y0, x1, y1 = pixel_box(box_xyxy, height, width)
    return crop_mask_to_rle(np.ones((y1 - y0, x1 - x0), dtype=bool), (x0, y0), height, width)


def ellipse_to_rle(box_xyxy: NDArray[np.float64], height: int, width: int) -> Rle:
    """The ellipse inscribed in the box (4,), px: pixels of the image whose centre it holds."""
    window = pixel_box(box_xyxy, height, width)
    inside = inscribed_ellipse(box_xyxy, window)
    return crop_mask_to_rle(inside, window[:2], height, width)


def inscribed_ellipse(
    box_xyxy: NDArray[np.float64], window_xyxy: tuple[int, int, int, int]
) -> NDArray[np.bool_]:
    """Which pixels of a window have their centre in the ellipse inscribed in a box.

    Args:
        box_xyxy: In px, shape (4,).
        window_xyxy: Integer window in px, half-open, H rows and W columns.

    Returns:
        bool, shape (H, W).
    """
    x0, y0, x1, y1 = window_xyxy
    centre = (box_xyxy[:2] + box_xyxy[2:]) / 2
    radius = (box_xyxy[2:] - box_xyxy[:2]) / 2
    rows = (np.arange(y0, y1) + 0.5 - centre[1]) / radius[1]
    columns = (np.arange(x0, x1) + 0.5 - centre[0]) / radius[0]
    return np.asarray(rows[:, None] ** 2 + columns[None, :] ** 2 <= 1)


def rle_iou(a: Rle, b: Rle) -> float:
    """Intersection over union of two masks of one image; 0 when both are empty."""
    return float(coco_mask.iou([a], [b], [0])[0, 0])
