"""Rotated boxes in the normal form: `rotated_box` of an annotation, beside the `bbox` around it.

`rotated_box` holds eight numbers, the corners x1, y1, ..., x4, y4 in px; they may leave the image.
"""

import math
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mal_core.geometry.rotated import Turn, cross, uncrossed
from mal_core.types import Corners

Json = dict[str, Any]
ROTATED = "rotated_box"
NUM_COORDINATES = 8
AGREEMENT = 2.0
"""Px by which `bbox` may differ from what the corners reach over."""
OVER = "rotated boxes reach over the border of their image: the part outside is left out"
CROSSED = "rotated boxes have corners in the order of a bow tie: they are taken in turn"
TURNED = (
    "boxes have attributes.rotation, as CVAT writes turned rectangles, and are read as upright: if "
    'they are turned, export "Ultralytics YOLO Oriented Bounding Boxes" and use data=yolo_obb'
)
LARGEST = 1e9
LEAST_SIDE = 1e-3


def rotated_problems(
    entry: Mapping[str, Any], box_xywh: Sequence[float], size: tuple[int, int]
) -> Iterator[str]:
    """What is wrong with the corners of an annotation that has some.

    Args:
        entry: The annotation.
        box_xywh: Its box, sound, px.
        size: Width and height of its image, px.
    """
    given = entry.get(ROTATED)
    if given is None:
        return
    if not are_corners(given):
        yield (
            f"has {ROTATED}={reprlib.repr(given)}, but it must be the four corners "
            "[x1, y1, x2, y2, x3, y3, x4, y4] in px. Correct it, or rename the key if it means "
            "something else."
        )
        return
    around = extent_xywh(given, size)
    if not is_around(box_xywh, given, size):
        shown = [round(value, 1) for value in around]
        yield (
            f"has bbox={list(box_xywh)}, but its {ROTATED} reaches over {shown} of the image. "
            "`bbox` is what lies around the rotated box; correct one of them."
        )
    elif not _has_middle_inside(given, size):
        x, y = np.round(np.array(given, dtype=np.float64).reshape(4, 2).mean(0), 1).tolist()
        yield (
            f"has a rotated box around ({x}, {y}), outside of its image of {size[0]} x {size[1]} "
            "px. Are its corners those of a photo of another size? Correct or drop the box."
        )


def _has_middle_inside(corners: Sequence[float], size: tuple[int, int]) -> bool:
    middle = np.array(corners, dtype=np.float64).reshape(4, 2).mean(0)
    return bool((middle >= 0).all() and (middle <= size).all())


def is_around(box_xywh: Sequence[float], corners: Sequence[float], size: tuple[int, int]) -> bool:
    """Whether a box is what corners reach over of an image of (width, height), px."""
    apart = np.array(_sides(extent_xywh(corners, size))) - _sides(box_xywh)
    return bool(abs(apart).max() <= AGREEMENT)


def is_turned(attributes: object) -> bool:
    """Whether an annotation's `attributes` are those of a rectangle that CVAT has turned."""
    turn = attributes.get("rotation") if isinstance(attributes, dict) else None
    if isinstance(turn, bool) or not isinstance(turn, int | float):
        return False
    return math.isfinite(turn) and turn % 360 != 0


def corners_of_entry(entry: Mapping[str, Any]) -> Corners | None:
    """The corners of a sound annotation, one after the other; None where its box is upright."""
    given = entry.get(ROTATED)
    return None if given is None else uncrossed(_corners(given))


def is_crossed(entry: Mapping[str, Any]) -> bool:
    """Whether a sound annotation has corners whose outline crosses itself as they are written."""
    given = entry.get(ROTATED)
    return given is not None and cross(_corners(given))


def _corners(given: Sequence[float]) -> Corners:
    ax, ay, bx, by, cx, cy, dx, dy = map(float, given)
    return ax, ay, bx, by, cx, cy, dx, dy


def has_no_area(corners: Corners) -> bool:
    """Whether the corners lie on a line."""
    return min(Turn.of(corners).size) < LEAST_SIDE


def extent_xywh(corners: Sequence[float], size: tuple[int, int]) -> list[float]:
    """What corners reach over of an image of (width, height): [x, y, width, height] in px."""
    points = np.array(corners, dtype=np.float64).reshape(4, 2)
    low, high = points.min(0).clip(0, size), points.max(0).clip(0, size)
    return [*low.tolist(), *(high - low).tolist()]


def reaches_out(corners: Corners, size: tuple[int, int]) -> bool:
    """Whether corners lie outside of an image of (width, height), by more than rounding."""
    points = np.array(corners).reshape(4, 2)
    return bool(max((-points).max(), (points - size).max()) > AGREEMENT)


def are_corners(given: object) -> bool:
    """Whether a value is eight numbers that may be corners in px."""
    return (
        isinstance(given, list)
        and len(given) == NUM_COORDINATES
        and all(type(value) in (int, float) for value in given)
        and all(math.isfinite(value) and abs(value) < LARGEST for value in given)
    )


def _sides(box_xywh: Sequence[float]) -> list[float]:
    x, y, width, height = box_xywh
    return [x, y, x + width, y + height]
