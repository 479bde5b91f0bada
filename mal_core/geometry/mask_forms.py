"""The one reader of COCO masks: each form of them, checked before any C code sees it.

pycocotools trusts what it is given: a null takes all memory, an RLE of another size is read
past its end. A `segmentation` is one of

    [[x, y, ...], ...]                   polygons; parts of fewer than three points are no part
    [x, y, ...]                          one polygon, as some tools write it
    {"size": [h, w], "counts": [...]}    runs of pixels, column by column, ground first
    {"size": [h, w], "counts": "..."}    the same compressed

and anything empty of points or runs is no mask.
"""

import math
import reprlib
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from mal_core.errors import MaskError
from mal_core.types import Rle

NUMBERS = frozenset([int, float])
MIN_POLYGON_NUMBERS = 6
MAX_IMAGE_PIXELS = 2**31 - 1
"""RLE counts pixels in 32 bits."""
CHARACTERS_PER_RUN = 7
"""Five bits in each: more than any run of an image of that many pixels needs."""
ZERO, CONTINUED, NEGATIVE = 48, 32, 16
"""Of compressed counts: the character for 0, and the bits that say "more follows" and the sign."""

Polygons = list[list[float]]


class MaskForm(StrEnum):
    """How a file writes a mask, by its outside."""

    NONE = "none"
    POLYGONS = "polygons"
    FLAT_POLYGON = "flat polygon"
    RLE = "RLE"


def mask_form(segmentation: object) -> MaskForm:
    """The form of a `segmentation`; what is in it may still be wrong.

    Raises:
        MaskError: It has none of the forms.
    """
    if segmentation is None:
        return MaskForm.NONE
    if isinstance(segmentation, dict):
        return MaskForm.RLE if segmentation else MaskForm.NONE
    if not isinstance(segmentation, list):
        raise MaskError(_unknown_form(segmentation))
    if any(isinstance(part, list) for part in segmentation):
        return MaskForm.POLYGONS
    return MaskForm.FLAT_POLYGON if segmentation else MaskForm.NONE


def read_mask(segmentation: object, height: int, width: int) -> Polygons | Rle | None:
    """A mask in the form that pycocotools and mmdet read alike.

    Args:
        segmentation: Any JSON value, or RLE as pycocotools returns it (`bytes` counts).
        height, width: Size of the image, px.

    Returns:
        Polygons of at least three points each, RLE with `counts` as list or `str`, or None
        where there is no mask.

    Raises:
        MaskError: Anything else; the message goes on after the name of its annotation.
    """
    form = mask_form(segmentation)
    if form is MaskForm.NONE:
        return None
    if height * width > MAX_IMAGE_PIXELS:
        message = f"has a mask in an image of {width} x {height} px, more than masks can count."
        raise MaskError(message)
    if isinstance(segmentation, dict):
        return _read_rle(segmentation, height, width)
    if isinstance(segmentation, list) and any(map(_is_rle, segmentation)):
        message = (
            "has RLE in a list, as pycocotools encodes arrays of three dimensions. Write the one "
            "in it, or merge several."
        )
        raise MaskError(message)
    parts: Any = [segmentation] if form is MaskForm.FLAT_POLYGON else segmentation
    return _read_polygons(parts, height, width)


def is_mask(segmentation: object) -> bool:
    """Whether there is a mask, sound or not; polygons of fewer than three points are none."""
    if isinstance(segmentation, dict):
        return bool(segmentation.get("counts"))
    if not isinstance(segmentation, list):
        return segmentation is not None
    parts = [part for part in segmentation if isinstance(part, list)] or [segmentation]
    return any(len(part) >= MIN_POLYGON_NUMBERS for part in parts)


def mask_problem(segmentation: object, height: int, width: int) -> str | None:
    """What is wrong with a mask, if anything; no mask is nothing wrong."""
    try:
        read_mask(segmentation, height, width)
    except MaskError as error:
        return str(error)
    return None


def _unknown_form(segmentation: object) -> str:
    return (
        f"has segmentation={reprlib.repr(segmentation)}, but a mask is a list of polygons "
        "[[x, y, ...], ...] or RLE with size and counts. Correct or drop it."
    )


def _read_polygons(parts: Sequence[Any], height: int, width: int) -> Polygons | None:
    if len(parts) >= MIN_POLYGON_NUMBERS / 2 and all(_is_point(part) for part in parts):
        message = (
            "has a list of points [[x, y], ...] as its mask, but COCO wants the numbers of a "
            "polygon in one list [[x, y, x, y, ...]]. Flatten it."
        )
        raise MaskError(message)
    for part in parts:
        _check_polygon(part, height, width)
    return [part for part in parts if len(part) >= MIN_POLYGON_NUMBERS] or None


def _no_coordinate(value: object) -> str:
    if isinstance(value, list | dict):
        return (
            f"has a polygon of points such as {reprlib.repr(value)}, but COCO wants its numbers in "
            "one list [x, y, x, y, ...]. Flatten it."
        )
    seen = "null" if value is None else reprlib.repr(value)
    return (
        f"has a polygon with {seen} for a coordinate, which must be a finite number. "
        "Correct or drop the mask."
    )


def _is_rle(part: object) -> bool:
    return isinstance(part, dict) and "counts" in part


def _is_point(part: object) -> bool:
    return isinstance(part, list) and len(part) == 2


def _check_polygon(part: object, height: int, width: int) -> None:
    if not isinstance(part, list):
        raise MaskError(_unknown_form([part]))
    if _is_sound(part, height, width):
        return
    for value in part:
        if type(value) not in (int, float) or not _is_finite(value):
            raise MaskError(_no_coordinate(value))
    if len(part) % 2:
        message = (
            f"has a polygon of {len(part)} numbers, but points are pairs x, y. "
            "Correct or drop the mask."
        )
        raise MaskError(message)
    reach = reach_of_polygon(height, width)
    for value, side in zip(part, (width, height) * (len(part) // 2), strict=True):
        if not -reach <= value <= side + reach:
            message = (
                f"has a polygon with the coordinate {value:.6g}, far outside the image of "
                f"{width} x {height} px. Correct or drop the mask."
            )
            raise MaskError(message)


def _is_sound(part: list[Any], height: int, width: int) -> bool:
    """Whether nothing at all is wrong with a polygon, told by loops in C."""
    if len(part) % 2 or not NUMBERS.issuperset(map(type, part)):
        return False
    if not part:
        return True
    reach = reach_of_polygon(height, width)
    xs, ys = part[::2], part[1::2]
    near = -reach <= min(xs) and max(xs) <= width + reach
    near = near and -reach <= min(ys) and max(ys) <= height + reach
    return near and not math.isnan(sum(part))  # a NaN may hide from min and max


def reach_of_polygon(height: int, width: int) -> int:
    """Px by which a polygon may reach over the border, where it is cut: the longer side."""
    return max(height, width)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _read_rle(segmentation: dict[str, Any], height: int, width: int) -> Rle | None:
    counts, size = segmentation.get("counts"), segmentation.get("size")
    if counts in ("", b"", []):
        return None
    if not isinstance(counts, list | str | bytes):
        raise MaskError(_unknown_form(segmentation))
    if not (isinstance(size, list | tuple) and [*size] == [height, width]) or _has_bool(size):
        seen = reprlib.repr(size)
        message = (
            f"has a mask of {seen} (height, width) px, but its image has {[height, width]}. "
            "Correct or drop the mask."
        )
        raise MaskError(message)
    if isinstance(counts, bytes):
        counts = counts.decode("ascii", errors="replace")
    runs = _compressed_runs(counts) if isinstance(counts, str) else _plain_runs(counts)
    if sum(runs) != height * width:
        message = (
            f"has an RLE whose counts add up to {_shown(sum(runs))} px, but its image of {width} x "
            f"{height} px has {height * width}. Correct or drop the mask."
        )
        raise MaskError(message)
    return {"size": [height, width], "counts": counts}


def _has_bool(size: Sequence[object]) -> bool:
    return any(type(side) is bool for side in size)


def _shown(number: int) -> str:
    return str(number) if number < 10**20 else "more than 10^20"


def _plain_runs(counts: list[Any]) -> list[int]:
    wrong = [one for one in counts if type(one) is not int or one < 0]
    if wrong:
        message = (
            f"has an RLE with {reprlib.repr(wrong[0])} among its counts, which must be whole "
            "numbers of pixels. Correct or drop the mask."
        )
        raise MaskError(message)
    return counts


def _compressed_runs(text: str) -> list[int]:
    """The runs that a text of compressed counts means.

    Raises:
        MaskError: It is none.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - ZERO
        if not 0 <= bits < 64 or shift >= 5 * CHARACTERS_PER_RUN:
            raise MaskError(_no_counts(text))
        value |= (bits & 31) << shift
        shift += 5
        if bits & CONTINUED:
            continue
        if bits & NEGATIVE:
            value -= 1 << shift
        # From the fourth on, a number is the difference from the run before the last.
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        if runs[-1] < 0:
            raise MaskError(_no_counts(text))
        value = shift = 0
    if shift:
        raise MaskError(_no_counts(text))
    return runs


def _no_counts(text: str) -> str:
    shown = reprlib.repr(text)
    if text.startswith(("b'", 'b"')):
        return (
            f"has counts={shown}, which is the text of Python bytes. Write "
            "counts.decode('ascii') when exporting."
        )
    return (
        f"has counts={shown}, which is no compressed RLE: characters or runs are impossible, or "
        "its end is missing. Correct or drop the mask."
    )
