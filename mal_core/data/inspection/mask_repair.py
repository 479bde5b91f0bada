"""Masks that are written wrongly and can mean one thing only, and the box that a mask tells."""

import ast
import itertools
from typing import Any

from pycocotools import mask as coco_mask

from mal_core.errors import MaskError
from mal_core.geometry.mask_forms import read_mask
from mal_core.geometry.masks import segmentation_to_rle

LEAST_SHARES_SIDE = 4
"""Px: polygons inside the first pixel of a larger image mean shares of its size."""

Size = tuple[int, int]


def repaired_mask(segmentation: object, size: Size) -> tuple[Any, str | None]:
    """A mask as it should be written, and what was wrong with it.

    Args:
        segmentation: Any JSON value.
        size: Width and height of the image, px.

    Returns:
        The mask, None where there is none or nobody can tell what it means; None in place of
        a sentence where nothing was wrong.
    """
    width, height = size
    problem = None
    try:
        mask: Any = read_mask(segmentation, height, width)
    except MaskError as error:
        problem, mask = str(error), _rewritten(segmentation, size)
    if isinstance(mask, list) and _are_shares(mask, size):
        problem = "has a mask with coordinates from 0 to 1, which are shares of the image's size."
        mask = [_scaled(part, size) for part in mask]
    if mask is not None and problem is None:
        return segmentation, None
    return mask, problem


def box_of_mask(mask: Any, size: Size) -> list[float] | None:
    """The box [x, y, width, height] around a sound mask, px; None where it covers no pixel."""
    width, height = size
    found = coco_mask.toBbox(segmentation_to_rle(mask, height, width))
    x, y, w, h = (float(value) for value in found)
    return [x, y, w, h] if w > 0 and h > 0 else None


def _rewritten(segmentation: object, size: Size) -> Any:
    width, height = size
    for change in (_only_one, _flattened, _text_of_bytes):
        candidate = change(segmentation)
        if candidate is None:
            continue
        try:
            return read_mask(candidate, height, width)
        except MaskError:
            continue
    return None


def _only_one(segmentation: object) -> Any:
    """[RLE] as that, and the text of bytes in it as text."""
    if not isinstance(segmentation, list) or len(segmentation) != 1:
        return None
    (rle,) = segmentation
    return (_text_of_bytes(rle) or rle) if isinstance(rle, dict) else None


def _flattened(segmentation: object) -> Any:
    """[[x, y], [x, y], ...] as one polygon, [[[x, y], ...], ...] as several."""
    if not isinstance(segmentation, list) or not segmentation:
        return None
    if all(_is_point(point) for point in segmentation):
        return [list(itertools.chain.from_iterable(segmentation))]
    parts = [
        list(itertools.chain.from_iterable(part))
        for part in segmentation
        if isinstance(part, list) and part and all(_is_point(point) for point in part)
    ]
    return parts if len(parts) == len(segmentation) else None


def _is_point(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2


def _text_of_bytes(segmentation: object) -> Any:
    counts = segmentation.get("counts") if isinstance(segmentation, dict) else None
    if not isinstance(segmentation, dict) or not isinstance(counts, str):
        return None
    if not counts.startswith(("b'", 'b"')):
        return None
    try:
        value = ast.literal_eval(counts)
    except (ValueError, SyntaxError):
        return None
    return {**segmentation, "counts": value.decode("ascii", "replace")} if value else None


def _are_shares(mask: list[list[float]], size: Size) -> bool:
    numbers = list(itertools.chain.from_iterable(mask))
    return (
        bool(numbers)
        and min(size) > LEAST_SHARES_SIDE
        and min(numbers) >= 0
        and (max(numbers) <= 1)
    )


def _scaled(part: list[float], size: Size) -> list[float]:
    return [value * size[place % 2] for place, value in enumerate(part)]
