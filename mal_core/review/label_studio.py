"""Label Studio's export JSON: brush masks and polygons of the tasks that somebody has annotated."""

import math
import re
import reprlib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote

from mal_core.errors import DatasetError
from mal_core.formats.exports.brush_rle import BrushError, brush_to_mask
from mal_core.formats.exports.label_studio import BOXES, MASKS, OUTLINES
from mal_core.geometry.masks import mask_to_rle
from mal_core.review.given import Given, Shape, Submission

Json = dict[str, Any]
REGION = re.compile(rf"({MASKS}|{OUTLINES})_(-?[0-9]+)(?:_[0-9]+)?", re.ASCII)
OWN_BOX = re.compile(rf"{BOXES}_-?[0-9]+", re.ASCII)
"""The given boxes, which our tasks show and nobody can change."""
MAX_SIDE = 1 << 20
EXPORT = "Export the project as JSON (not JSON-MIN, CSV or COCO)."


class _Place(NamedTuple):
    """Where a region stands."""

    task: str
    file_name: str | None
    sent: Submission


def read_label_studio(tasks: list[Any], path: Path) -> Given:
    """The regions of an export.

    Args:
        tasks: The parsed file.
        path: Its name, for messages.

    Raises:
        DatasetError: It is no export with annotations; carries all problems.
    """
    problems: list[str] = []
    found = Given(tool="Label Studio")
    if not any(isinstance(task, dict) and "annotations" in task for task in tasks):
        raise DatasetError(path, [_no_export(tasks)])
    waiting = cancelled = rectangles = drafts = shared = 0
    for index, (task, name) in enumerate(zip(tasks, _task_names(tasks), strict=True)):
        annotations = _annotations(task, name, problems)
        drawn = [annotation for annotation in annotations if not annotation.get("was_cancelled")]
        cancelled += bool(annotations) and not drawn
        waiting += not annotations
        drafts += not annotations and bool(isinstance(task, dict) and task.get("drafts"))
        shared += len(drawn) > 1
        for position, annotation in enumerate(drawn):
            number = _number(annotation) or 0
            sent = Submission(index, _changed(annotation), number, position)
            place = _Place(name, _file_name(task), sent)
            rectangles += _take(annotation, task, place, found, problems)
    for count, what in (
        (waiting, "tasks have no annotation yet"),
        (drafts, "of these have a draft that was not submitted"),
        (cancelled, "tasks were skipped by their annotators"),
        (shared, "tasks have several annotations, which are put together mask by mask"),
        (rectangles, "rectangles are no masks and are left out"),
    ):
        if count:
            found.notes.append(f"{count} {what}")
    found.note_others()
    if problems:
        raise DatasetError(path, problems)
    return found


def _no_export(tasks: list[Any]) -> str:
    if any(isinstance(task, dict) and "predictions" in task for task in tasks):
        return (
            "has predictions and no annotations: it is what Label Studio imports. Correct the "
            f"masks there. {EXPORT}"
        )
    return f"is a list without tasks that have annotations. {EXPORT}"


def _task_names(tasks: list[Any]) -> list[str]:
    """By their numbers, and by their places where a number is absent or of two tasks."""
    counts = Counter(number for task in tasks if (number := _number(task)) is not None)
    names = []
    for index, task in enumerate(tasks):
        number = _number(task)
        own = "task" if number is None else f"task {number}"
        alone = number is not None and counts[number] == 1
        names.append(own if alone else f"{own} at position {index} (from 0)")
    return names


def _number(entry: object) -> int | None:
    number = entry.get("id") if isinstance(entry, dict) else None
    return number if type(number) is int else None


def _file_name(task: object) -> str | None:
    """Of the photo: as our own tasks say it, else the end of its address."""
    data = task.get("data") if isinstance(task, dict) else None
    if not isinstance(data, dict):
        return None
    if isinstance(data.get("file_name"), str):
        return str(data["file_name"])
    url = data.get("image")
    return PurePosixPath(unquote(url)).name if isinstance(url, str) else None


def _annotations(task: object, name: str, problems: list[str]) -> list[Json]:
    annotations = task.get("annotations") if isinstance(task, dict) else None
    if not isinstance(annotations, list) or not all(
        isinstance(annotation, dict) for annotation in annotations
    ):
        problems.append(f"{name} has no list of annotations. {EXPORT}")
        return []
    return annotations


def _changed(annotation: Json) -> float:
    """When, in seconds since 1970; without a time it is older than all that have one."""
    given = annotation.get("updated_at") or annotation.get("created_at")
    if not isinstance(given, str):
        return -math.inf
    try:
        time = datetime.fromisoformat(given.strip())
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):  # what is no time says nothing
        return -math.inf


def _take(annotation: Json, task: Json, place: _Place, found: Given, problems: list[str]) -> int:
    """Add the masks of an annotation; returns how many drawn rectangles were left out."""
    result = annotation.get("result")
    if not isinstance(result, list):
        problems.append(f"{place.task} has an annotation without a list 'result'. {EXPORT}")
        return 0
    rectangles, seen = 0, set()
    for region in result:
        value = region.get("value") if isinstance(region, dict) else None
        if not isinstance(value, dict):
            problems.append(f"{place.task} has a result without a value: {reprlib.repr(region)}.")
        elif "rle" in value or "points" in value:
            shapes = list(_shape(region, value, place, problems))
            seen |= {shape.key for shape in shapes}
            found.shapes += shapes
        elif {"x", "y", "width", "height"} <= value.keys():
            rectangles += not OWN_BOX.fullmatch(str(region.get("id", "")))
        elif str(region.get("type", "")).startswith("bitmask"):
            problems.append(
                f"{place.task}, region {_name(region)} is a bitmask, which is not read. Use the "
                "labeling setup that lies beside the tasks, with BrushLabels or PolygonLabels."
            )
        else:
            found.leave_out(_kind(region), f"{place.task}, region {_name(region)}")
    data = task.get("data")
    ids = data.get("annotation_ids", []) if isinstance(data, dict) else []
    known = ids if isinstance(ids, list) else []
    found.gone += [known_id for known_id in known if type(known_id) is int and known_id not in seen]
    return rectangles


def _kind(region: Json) -> str:
    return reprlib.repr(region.get("type", "region")).strip("'\"")


def _name(region: Json) -> str:
    return reprlib.repr(region.get("id")).strip("'\"")


def _shape(region: Json, value: Json, place: _Place, problems: list[str]) -> Iterator[Shape]:
    where = f"{place.task}, region {_name(region)}"
    own = REGION.fullmatch(str(region.get("id", "")))
    sides = region.get("original_width"), region.get("original_height")
    if not all(type(side) is int and 0 < side < MAX_SIDE for side in sides):
        problems.append(f"{where} has no original_width and original_height in px. {EXPORT}")
        return
    if region.get("image_rotation") not in (None, 0):
        problems.append(f"{where} is on a turned image. Turn it back to 0 degrees there.")
        return
    width, height = int(sides[0]), int(sides[1])  # type: ignore[arg-type] # as asked above
    yield Shape(
        where=where,
        key=None if own is None else int(own[2]),
        group=MASKS if "rle" in value else OUTLINES,
        file_name=place.file_name,
        size=(width, height),
        category=_category(value),
        draw=partial(_segmentation, value, width, height),
        sent=place.sent,
    )


def _segmentation(value: Json, width: int, height: int) -> object:
    """A mask in a form of COCO.

    Raises:
        ValueError: It is broken.
    """
    if "rle" in value:
        rle = value["rle"]
        if not isinstance(rle, list):
            message = "its rle must be a list of bytes."
            raise BrushError(message)
        return mask_to_rle(brush_to_mask(rle, height, width))
    points = value["points"]
    if not isinstance(points, list) or not all(
        isinstance(point, list) and len(point) == 2 and all(type(x) in (int, float) for x in point)
        for point in points
    ):
        message = "its points must be pairs of numbers, in percent of the image."
        raise ValueError(message)
    return [[side for x, y in points for side in (x * width / 100, y * height / 100)]]


def _category(value: Json) -> str | None:
    for key in ("brushlabels", "polygonlabels", "labels"):
        names = value.get(key)
        if isinstance(names, list) and names and isinstance(names[0], str):
            return str(names[0])
    return None
