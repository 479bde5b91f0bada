"""How well each mask of a labeled file agrees with the human mask of the same object."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mal_core.data.coco import by_id, parse_coco
from mal_core.data.view import view_of
from mal_core.errors import DatasetError
from mal_core.evaluation.label_pairs import SPLIT, Pair, pair_notes, pair_problems
from mal_core.evaluation.scores import clipped_box, is_judged
from mal_core.geometry.boundary import boundary_iou
from mal_core.geometry.boxes import box_area, size_bin
from mal_core.geometry.mask_forms import is_mask, mask_problem
from mal_core.geometry.masks import segmentation_to_mask, segmentation_to_rle

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """One object of the human file.

    Attributes:
        category: Name of its class.
        size: Index into SIZE_NAMES, by the area of the box.
        mask_iou, boundary_iou: 0 where the labeled file has no mask for it.
        labeled: Whether it has one.
    """

    annotation_id: int
    category: str
    size: int
    mask_iou: float
    boundary_iou: float
    labeled: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """All objects that were compared.

    Attributes:
        notes: What was left out, and what differs between both files, counted.
    """

    objects: tuple[Agreement, ...]
    notes: tuple[str, ...]


def measure_agreement(labeled: Path, human: Path) -> Comparison:
    """Compare every object of a human file with the label of the same annotation id.

    Crowds, boxes of zero size and human masks without a pixel are left out; an object without
    a label counts as 0, so that leaving out hard ones cannot raise a mean.

    Args:
        labeled: COCO file with masks in any of the three encodings.
        human: COCO file with human masks.

    Raises:
        DatasetError: A file is no COCO file, there is nothing to compare, the files are not of
            the same objects, or a mask is wrong.
    """
    content, truth = parse_coco(labeled), parse_coco(human)
    labels = by_id(content["annotations"], labeled)
    wrong = view_of(human, truth).all_problems
    if wrong:
        raise DatasetError(human, wrong)
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    masked = [entry for entry in truth["annotations"] if is_judged(entry)]
    blank = {entry["id"] for entry in masked if _is_blank(entry, sizes[entry["image_id"]])}
    judged = [entry for entry in masked if entry["id"] not in blank]
    if not judged:
        raise DatasetError(human, ["no object has a human mask. Give the file with masks."])
    pair = Pair(labeled=content, labels=labels, human=truth, judged=judged)
    problems = pair_problems(pair)
    if problems:
        raise DatasetError(labeled, problems)
    label_of = _usable(pair, labeled, human, sizes)
    name_of = {category["id"]: category["name"] for category in truth["categories"]}
    objects = (
        _compare(entry, label_of.get(entry["id"]), sizes[entry["image_id"]], name_of)
        for entry in judged
    )
    return Comparison(objects=tuple(objects), notes=tuple(pair_notes(pair)))


def _is_blank(entry: Json, size: tuple[int, int]) -> bool:
    return int(coco_mask.area(segmentation_to_rle(entry["segmentation"], *size))) == 0


def _usable(
    pair: Pair, labeled: Path, human: Path, sizes: Mapping[int, tuple[int, int]]
) -> dict[int, object]:
    """The masks of the labels, all sound, at least one of them of a judged object."""
    found = {
        key: entry["segmentation"]
        for key, entry in pair.labels.items()
        if is_mask(entry.get("segmentation"))
    }
    if not any(entry["id"] in found for entry in pair.judged):
        same = any(entry["id"] in pair.labels for entry in pair.judged)
        problem = (
            "no annotation has a mask (polygons of at least three points, or RLE)."
            if same
            else f"no annotation id in common with {human}. {SPLIT}"
        )
        raise DatasetError(labeled, [problem])
    problems = [
        f"annotation {entry['id']} {wrong}"
        for entry in pair.judged
        if (wrong := mask_problem(found.get(entry["id"]), *sizes[entry["image_id"]]))
    ]
    if problems:
        raise DatasetError(labeled, problems)
    return found


def _compare(
    entry: Json, label: object, size: tuple[int, int], name_of: Mapping[int, str]
) -> Agreement:
    height, width = size
    area = box_area(clipped_box(entry, height, width))
    human = segmentation_to_mask(entry["segmentation"], height, width)
    mask = None if label is None else segmentation_to_mask(label, height, width)
    return Agreement(
        annotation_id=entry["id"],
        category=name_of[entry["category_id"]],
        size=int(size_bin(area)),
        mask_iou=0.0 if mask is None else _iou(mask, human),
        boundary_iou=0.0 if mask is None else boundary_iou(mask, human),
        labeled=mask is not None,
    )


def _iou(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 0.0
