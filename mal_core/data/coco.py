"""COCO JSON in: boxes, categories and images; masks are dropped while parsing."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mal_core.artifacts import write_json
from mal_core.data.images import image_problems
from mal_core.data.validation import (
    BoxTable,
    CategoryTable,
    ImageTable,
    find_constant,
    label_of,
    structure_problems,
)
from mal_core.errors import DatasetError
from mal_core.types import BoxDataset

MIN_POLYGON_NUMBERS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskCensus:
    """Which annotations of a file carry a mask; the masks themselves are gone.

    Attributes:
        num_masks: Non-crowd annotations with a usable mask.
        without: Ids of non-crowd annotations with a box of positive size and no usable
            mask: polygons of fewer than three points are none, as mmdet drops them too.
    """

    num_masks: int
    without: tuple[object, ...]

    @property
    def complete(self) -> bool:
        """Whether masks can stand for the boxes of the file."""
        return self.num_masks > 0 and not self.without


class MaskDoor:
    """Takes masks off annotations while the JSON is parsed, and counts them."""

    def __init__(self, *, keep_crowds: bool = False, drop_area: bool = False) -> None:
        self.keep_crowds = keep_crowds
        self.drop_area = drop_area
        self.num_masks = 0
        self.without: list[object] = []

    def __call__(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Hook of the JSON parser: sees every object of the file, inner ones first."""
        if "image_id" not in entry:  # only annotations refer to an image
            return entry
        crowd = bool(entry.get("iscrowd"))
        if crowd and self.keep_crowds:
            return entry
        gt_mask = entry.pop("segmentation", None)
        if self.drop_area:
            entry.pop("area", None)
        if not crowd:
            self._count(entry, gt_mask)
        return entry

    def _count(self, entry: dict[str, Any], gt_mask: object) -> None:
        if is_usable_mask(gt_mask):
            self.num_masks += 1
        elif not _has_zero_size(entry.get("bbox")):
            self.without.append(entry.get("id"))

    def census(self) -> MaskCensus:
        """What was seen."""
        return MaskCensus(num_masks=self.num_masks, without=tuple(self.without))


def is_usable_mask(gt_mask: object) -> bool:
    """Whether a `segmentation` value is a mask: polygons or RLE of either kind."""
    if isinstance(gt_mask, dict):
        return bool(gt_mask.get("counts")) and bool(gt_mask.get("size"))
    if not isinstance(gt_mask, list):
        return False
    return any(isinstance(part, list) and len(part) >= MIN_POLYGON_NUMBERS for part in gt_mask)


def _has_zero_size(box: object) -> bool:
    return isinstance(box, list) and len(box) == 4 and 0 in box[2:]


def parse_coco(
    annotations: Path, door: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    """Parse a COCO file, handing each object of it through `door`.

    Raises:
        DatasetError: The file is absent, is no JSON or is no COCO object.
    """
    try:
        content = json.loads(annotations.read_bytes(), object_hook=door)
    except FileNotFoundError as error:
        problem = "the annotation file does not exist. Correct the path."
        raise DatasetError(annotations, [problem]) from error
    except OSError as error:
        raise DatasetError(annotations, [f"cannot be read: {error.strerror}."]) from error
    except json.JSONDecodeError as error:
        problem = (
            f"broken JSON at line {error.lineno}, column {error.colno}: {error.msg}. "
            "Is the file complete?"
        )
        raise DatasetError(annotations, [problem]) from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(annotations, [f"is no JSON text: {error}."]) from error
    problems = structure_problems(content)
    if problems:
        raise DatasetError(annotations, problems)
    return dict(content)


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
    return read_split(
        images, annotations, strict=strict, decode=decode, crowds_as_objects=crowds_as_objects
    )[0]


def read_split(
    images: Path,
    annotations: Path,
    *,
    strict: bool,
    decode: bool,
    crowds_as_objects: bool = False,
) -> tuple[BoxDataset, MaskCensus]:
    """`read_boxes`, and which annotations have a mask.

    Raises:
        DatasetError: Carries every problem of the file and of its images.
    """
    door = MaskDoor()
    content = parse_coco(annotations, door)
    categories, records = CategoryTable(), ImageTable()
    for index, entry in enumerate(content["categories"]):
        categories.add(index, entry)
    for index, entry in enumerate(content["images"]):
        records.add(index, entry)
    boxes = BoxTable(records, categories.ids, strict=strict, crowds_as_objects=crowds_as_objects)
    for index, entry in enumerate(content["annotations"]):
        boxes.add(index, entry)
    problems = [
        *_emptiness_problems(content, boxes),
        *categories.problems,
        *records.problems,
        *boxes.problems,
        *_constant_problems(content),
        *image_problems(images, records.records, decode=decode),
    ]
    if problems:
        raise DatasetError(annotations, problems)
    dataset = BoxDataset(
        annotations_path=annotations,
        image_root=images,
        categories=tuple(categories.categories),
        images=tuple(records.records),
        boxes=tuple(boxes.boxes),
        skipped=tuple(boxes.skipped),
        num_crowds=boxes.num_crowds,
        num_clipped=boxes.num_clipped,
    )
    return dataset, door.census()


def _emptiness_problems(content: dict[str, Any], boxes: BoxTable) -> list[str]:
    if not content["images"]:
        return ["empty dataset: the list 'images' has no entry."]
    if not content["annotations"]:
        return ["empty dataset: the list 'annotations' has no entry."]
    if boxes.num_crowds + len(boxes.skipped) < len(content["annotations"]):
        return []
    return [
        f"empty dataset: none of its {len(content['annotations'])} annotations is a usable box "
        f"({boxes.num_crowds} crowds, {len(boxes.skipped)} of zero size)."
    ]


def _constant_problems(content: dict[str, Any]) -> list[str]:
    """Numbers that JSON does not have, outside of boxes; boxes report their own."""
    problems = []
    for key, kind in (("images", "image"), ("annotations", "annotation")):
        for index, entry in enumerate(content[key]):
            if not isinstance(entry, dict):
                continue
            names = [name for name, part in entry.items() if name != "bbox" and find_constant(part)]
            if names:
                label = label_of(kind, index, entry)
                problems.append(
                    f"{label} has a NaN or infinite number in {', '.join(names)}, which JSON "
                    "does not allow. Correct or drop the value."
                )
    return problems


def has_masks(annotations: Path) -> bool:
    """Whether every box of a file comes with a human mask.

    Raises:
        DatasetError: The file is absent or broken.
    """
    door = MaskDoor()
    parse_coco(annotations, door)
    return door.census().complete


def strip_masks(annotations: Path, output: Path) -> None:
    """Write a copy of a COCO file without `segmentation` and without mask `area`.

    This copy is all that phase 1 is given, so no mask can reach it.

    Raises:
        DatasetError: The file is absent or broken.
    """
    content = parse_coco(annotations, MaskDoor(drop_area=True))
    try:
        write_json(output, content)
    except ValueError as error:
        problem = f"holds a number that JSON does not allow: {error}."
        raise DatasetError(annotations, [problem]) from error
