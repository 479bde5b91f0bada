"""Boxes of a detector: a COCO results list in, the same list with masks out."""

import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mal_core.data.json_lists import read_whole
from mal_core.data.results import read_results
from mal_core.data.rotated_boxes import ROTATED, rotated_problems
from mal_core.data.validation import constant_problem
from mal_core.errors import DatasetError
from mal_core.formats.detected_ids import KnownIds
from mal_core.geometry.box_forms import TO_XYWH, XYWH, BoxForms
from mal_core.processes.files import write_json
from mal_core.processes.own_file import write_own_json

Json = dict[str, Any]
LARGEST = 1e9
LEAST_OF_A_FORM, LEAST_MISFIT = 5, 0.25
"""Boxes, and the share of them that must leave their images: a detector's may reach over one."""
KEYS = ("image_id", "category_id", "bbox", "score")


def detections_to_coco(detections: Path, coco: Json) -> Json:
    """A results list as the annotations of the COCO file that has its images.

    Args:
        detections: List of {image_id, category_id, bbox (xywh), score}, and `rotated_box` where a
            box is rotated.
        coco: Object with `images` and `categories`; its annotations are not used.

    Returns:
        A COCO object; annotation n + 1 is entry n of the list. Boxes are clipped to their image:
        a detector's may reach over it.

    Raises:
        DatasetError: Carries every problem of the list.
    """
    entries = read_results(detections)
    if not entries:
        raise DatasetError(detections, ["the list of detections is empty."])
    known = KnownIds(coco)
    problems = [p for i, entry in enumerate(entries) for p in _problems(i, entry, known)]
    if problems:
        raise DatasetError(detections, problems)
    size_of = {image["id"]: (image["width"], image["height"]) for image in coco["images"]}
    problems = list(_form_problems(entries, size_of))
    if problems:
        raise DatasetError(detections, problems)
    annotations = [
        {
            "id": number,
            "image_id": entry["image_id"],
            "category_id": entry["category_id"],
            "bbox": _clipped(entry["bbox"], *size_of[entry["image_id"]]),
            "iscrowd": 0,
            "origin": f"detection {number - 1}",
            **({ROTATED: entry[ROTATED]} if entry.get(ROTATED) is not None else {}),
        }
        for number, entry in enumerate(entries, start=1)
    ]
    problems = [
        f"{entry['origin']} (counted from 0) {problem}"
        for entry in annotations
        for problem in rotated_problems(entry, entry["bbox"], size_of[entry["image_id"]])
    ]
    if problems:
        raise DatasetError(detections, problems)
    return {**coco, "annotations": annotations}


def _form_problems(entries: list[Json], size_of: dict[int, tuple[int, int]]) -> Iterator[str]:
    """Whether the boxes look as if they were written in another way, in words."""
    forms = BoxForms()
    boxes = np.array([entry["bbox"] for entry in entries], np.float64)
    forms.add(boxes, np.array([size_of[entry["image_id"]] for entry in entries], np.float64))
    if len(entries) < LEAST_OF_A_FORM:
        return
    if forms.are_normalised():
        yield (
            f"{forms.num_shares} of {forms.num_boxes} boxes have all numbers from 0 to 1 and look "
            f"normalised, but {XYWH} in px is wanted."
        )
        return
    other = forms.other_than(XYWH)
    if other is not None and forms.share_misfit(XYWH) >= LEAST_MISFIT:
        yield (
            f"its {forms.num_boxes} boxes all fit their images as {other}, and "
            f"{forms.num_boxes - forms.fitting[XYWH]} do not as {XYWH}, which is wanted. If that "
            f"is what they are: {TO_XYWH[other]}"
        )


def _clipped(box: list[float], width: int, height: int) -> list[float]:
    x, y, w, h = box
    x0, y0 = min(max(x, 0), width), min(max(y, 0), height)
    x1, y1 = min(max(x + w, 0), width), min(max(y + h, 0), height)
    return [x0, y0, x1 - x0, y1 - y0]


def _problems(index: int, entry: Json, known: KnownIds) -> Iterator[str]:
    label = f"detection {index} (counted from 0)"
    missing = [key for key in KEYS if key not in entry]
    if missing:
        yield f"{label} has no {', '.join(missing)}. Add it, or drop the entry."
        return
    yield from (f"{label} {problem}" for problem in known.problems(entry))
    box = entry["bbox"]
    if not (isinstance(box, list) and len(box) == 4 and all(map(_is_finite, box))):
        yield f"{label} has bbox={reprlib.repr(box)}, but it must be [x, y, width, height] in px."
    if not _is_finite(entry["score"]):
        yield f"{label} has score={reprlib.repr(entry['score'])}, but it must be a number."
    problem = constant_problem(entry, KEYS)
    if problem is not None:
        yield f"{label} {problem}"


def _is_finite(value: object) -> bool:
    """Whether a value is a number that a place in an image, or a score, can be."""
    return type(value) in (int, float) and -LARGEST < value < LARGEST  # type: ignore[operator]


def write_detections(labeled: Json, detections: Path, target: Path) -> None:
    """The list again, in its order: with `segmentation`, the detector's score as it was.

    A detection without a mask keeps its place and has none; the ledger says why.
    """
    mask_of = {entry["id"]: entry["segmentation"] for entry in labeled["annotations"]}
    entries = read_results(detections)
    for number, entry in enumerate(entries, start=1):
        entry.pop("segmentation", None)
        if number in mask_of:
            entry["segmentation"] = mask_of[number]
    write_own_json(target, entries)


def write_skipped(ledger: Path, target: Path) -> None:
    """The ledger of a list of detections, whose skips are told by their places in the list.

    Args:
        ledger: Of the COCO file that `detections_to_coco` makes, where entry n is annotation n + 1.
        target: Receives the same with `detection`, counted from 0, for `annotation_id`.
    """
    content = read_whole(ledger)
    skipped = [
        {"detection": entry.pop("annotation_id") - 1, **entry} for entry in content["skipped"]
    ]
    write_json(target, {**content, "skipped": skipped}, indent=2)
