"""COCO JSON in: boxes, categories and images; masks are dropped while parsing."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mal_core.data.images.loading import image_problems
from mal_core.data.json_lists import Piece, read_lists
from mal_core.data.rotated_boxes import ROTATED, corners_of_entry, extent_xywh
from mal_core.data.validation import (
    ANNOTATION_FIELDS,
    ENTRY_LISTS,
    LISTED,
    field_problems,
    label_of,
    structure_problems,
)
from mal_core.data.view import read_view
from mal_core.errors import DatasetError
from mal_core.geometry.rotated import Turn, corners_of
from mal_core.processes.files import write_json
from mal_core.types import BoxDataset

Json = dict[str, Any]
ID_FIELD = {"id": ANNOTATION_FIELDS["id"]}


def parse_coco(
    annotations: Path,
    change: Callable[[Json], Json] | None = None,
    *,
    needed: Sequence[str] = ENTRY_LISTS,
) -> Json:
    """Parse a COCO file exactly, each annotation of it changed on its way in.

    Args:
        annotations: The file.
        change: What becomes of an annotation; what it drops never takes memory together.
        needed: Lists that the file must have; without one of the others, it is empty.

    Raises:
        DatasetError: The file is absent, is no JSON or is no COCO object.
    """
    lists: dict[str, list[Any]] = {key: [] for key in ENTRY_LISTS}

    def visit(key: str, piece: Piece) -> None:
        entries = piece.exact()
        if key == "annotations" and change is not None:
            entries = [change(one) if isinstance(one, dict) else one for one in entries]
        lists[key] += entries

    content = read_lists(annotations, ENTRY_LISTS, visit)
    problems = structure_problems(content, needed)
    if problems:
        raise DatasetError(annotations, problems)
    return {**content, **lists}


def parse_listing(annotations: Path) -> Json:
    """Parse the images and categories of a COCO file, whose annotations come as an empty list.

    Raises:
        DatasetError: As for `parse_coco`; the file need not have annotations.
    """
    lists: dict[str, list[Any]] = {key: [] for key in ENTRY_LISTS}

    def visit(key: str, piece: Piece) -> None:
        if key in LISTED:
            lists[key] += piece.exact()

    content = read_lists(annotations, ENTRY_LISTS, visit)
    problems = structure_problems(content, LISTED)
    if problems:
        raise DatasetError(annotations, problems)
    return {**content, **lists}


def repeated_ids(ids: Iterable[int]) -> list[str]:
    """A sentence for each id that more than one annotation has."""
    return [
        f"annotation {key} occurs more than once. Give every annotation its own id."
        for key, count in Counter(ids).items()
        if count > 1
    ]


def by_id(entries: Sequence[Any], annotations: Path) -> dict[int, Json]:
    """Annotations of a file by their ids.

    Raises:
        DatasetError: An entry is no object, an id is no whole number or occurs twice.
    """
    problems = [
        f"{label_of('annotation', index, entry)} {problem}"
        for index, entry in enumerate(entries)
        for problem in field_problems(entry, ID_FIELD)
    ]
    if problems:
        raise DatasetError(annotations, problems)
    problems = repeated_ids(entry["id"] for entry in entries)
    if problems:
        raise DatasetError(annotations, problems)
    return {entry["id"]: entry for entry in entries}


def drop_mask(entry: Json) -> Json:
    """An annotation without its mask."""
    entry.pop("segmentation", None)
    return entry


def drop_mask_of_object(entry: Json) -> Json:
    """An annotation without its mask, a crowd as it is."""
    return entry if entry.get("iscrowd") else drop_mask(entry)


def _drop_mask_and_area(entry: Json) -> Json:
    entry.pop("area", None)
    return drop_mask(entry)


def _with_noise(content: Json, noise: float, seed: int) -> list[Json]:
    """Annotations whose boxes are as careless annotators draw them; crowds stay."""
    size_of = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    found = []
    for entry in content["annotations"]:
        if not entry.get("iscrowd") and min(entry["bbox"][2:]) > 0:
            # By id: the noise of a box does not depend on which others there are.
            shifts = np.random.default_rng([seed, abs(entry["id"])]).uniform(-noise, noise, 4)
            entry = _moved(entry, size_of[entry["image_id"]], shifts.tolist())
        found.append(entry)
    return found


def _moved(entry: Json, size: tuple[int, int], shifts: Sequence[float]) -> Json:
    """An annotation whose box has moved sides, along its own axes if it is rotated."""
    corners = corners_of_entry(entry)
    if corners is None:
        return {**entry, "bbox": noisy_box(entry["bbox"], size, shifts)}
    turn = Turn.of(corners)
    sides = turn.box_xyxy + np.array(shifts) * np.tile(turn.size, 2)
    moved = corners_of(turn, sides)
    return {**entry, "bbox": extent_xywh(moved, size), ROTATED: list(moved)}


def noisy_box(
    box_xywh: Sequence[float], size: tuple[int, int], shifts: Sequence[float]
) -> list[float]:
    """A box whose sides have moved, inside its image and at least one pixel wide and high.

    Args:
        box_xywh: Four numbers, px.
        size: Width and height of the image, px.
        shifts: Of left, top, right and bottom, as shares of the box's width or height.
    """
    sides = []
    for low, length, side, (first, second) in zip(
        box_xywh[:2],
        box_xywh[2:],
        size,
        zip(shifts[:2], shifts[2:], strict=True),
        strict=True,
    ):
        start = min(max(low + first * length, 0.0), side - 1.0)
        end = min(max(low + length + second * length, start + 1.0), float(side))
        sides.append((start, end - start))
    (x, width), (y, height) = sides
    return [x, y, width, height]


def read_boxes(
    images: Path,
    annotations: Path,
    *,
    strict: bool = False,
    decode: bool = False,
    crowds_as_objects: bool = False,
) -> BoxDataset:
    """Read the boxes of a COCO file and check it against its images.

    Args:
        images: Folder that `file_name` is relative to.
        annotations: COCO JSON; any masks in it are dropped unseen.
        strict: Also refuse overhang of up to 2 px, zero-size boxes and crowds.
        decode: Decode every image, which finds truncated files; otherwise headers only.
        crowds_as_objects: Take the box of a crowd like any other (spec Q5).

    Raises:
        DatasetError: Carries every problem of the file and of its images.
    """
    view = read_view(annotations, strict=strict, crowds_as_objects=crowds_as_objects, masks=False)
    problems = [*view.problems, *image_problems(images, view.images, decode=decode)]
    if problems:
        raise DatasetError(annotations, problems)
    return view.dataset(images)


def has_masks(annotations: Path) -> bool:
    """Whether every box of a file comes with a human mask.

    Raises:
        DatasetError: The file is absent or broken.
    """
    return read_view(annotations).masks.complete


def strip_masks(annotations: Path, output: Path, *, box_noise: float = 0.0, seed: int = 0) -> None:
    """Write a copy of a COCO file without `segmentation` and without mask `area`.

    This copy is all that phase 1 is given, so no mask can reach it.

    Args:
        annotations: The file, sound.
        output: Receives the copy.
        box_noise: Each side of a box moves by up to this share of the box, for experiments.
        seed: Of that noise.

    Raises:
        DatasetError: The file is absent or broken.
    """
    content = parse_coco(annotations, _drop_mask_and_area)
    if box_noise > 0:
        content = {**content, "annotations": _with_noise(content, box_noise, seed)}
    try:
        write_json(output, content)
    except ValueError as error:
        problem = f"holds a number that JSON does not allow: {error}."
        raise DatasetError(annotations, [problem]) from error
