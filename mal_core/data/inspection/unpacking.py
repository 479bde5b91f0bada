"""Boxes and masks that are packed as tables and other tools pack them, with one meaning each."""

import ast
from collections.abc import Callable
from typing import Any

from mal_core.data.validation import is_real

LONGEST_TEXT = 1_000_000
SIDES = (("x", "y", "width", "height"), ("x", "y", "w", "h"), ("left", "top", "width", "height"))
CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
)
LISTS_OF_POINTS = (("all_points_x", "all_points_y"), ("x", "y"))


def unpacked_box(value: object) -> object:
    """Four numbers out of a text, a list of one list, or an object with a key for each."""
    value = _of_text(value)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        return value[0]
    if not isinstance(value, dict):
        return value
    for names in SIDES:
        if value.keys() == set(names):
            return [value[name] for name in names]
    for names in CORNERS:
        if value.keys() == set(names) and all(map(is_real, value.values())):
            x0, y0, x1, y1 = (value[name] for name in names)
            return [x0, y0, x1 - x0, y1 - y0]
    return value


def unpacked_mask(value: object) -> object:
    """A mask out of a text; polygons whose points are objects, or two lists of coordinates."""
    value = _of_text(value)
    for read in (_points, _two_lists):
        one = read(value)
        if one is not None:
            return [one]
        if isinstance(value, list) and value:
            parts = [read(part) for part in value]
            if all(part is not None for part in parts):
                return parts
    return value


def _of_text(value: object) -> object:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or value.lstrip()[:1] not in "[{":
        return value
    try:
        found = ast.literal_eval(value.strip())  # JSON, or what pandas writes into a table
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return value
    return found if isinstance(found, list | dict) else value


def _points(value: object) -> list[Any] | None:
    """[{x, y}, ...] as [x, y, x, y, ...]."""
    if not isinstance(value, list) or not value:
        return None
    if not all(isinstance(point, dict) and point.keys() == {"x", "y"} for point in value):
        return None
    if any(isinstance(one, list) for point in value for one in point.values()):
        return None
    return [point[axis] for point in value for axis in ("x", "y")]


def _two_lists(value: object) -> list[Any] | None:
    """{all_points_x: [...], all_points_y: [...]}, as VIA writes it."""
    if not isinstance(value, dict):
        return None
    for first, second in LISTS_OF_POINTS:
        xs, ys = value.get(first), value.get(second)
        if isinstance(xs, list) and isinstance(ys, list) and xs and len(xs) == len(ys):
            return [part for point in zip(xs, ys, strict=True) for part in point]
    return None


UNPACKED: dict[str, Callable[[object], object]] = {
    "bbox": unpacked_box,
    "segmentation": unpacked_mask,
}
