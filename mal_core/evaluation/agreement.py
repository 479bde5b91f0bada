"""How well each mask of a labeled file agrees with the human mask of the same object."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mal_core.data.coco import by_id, parse_coco
from mal_core.data.matched import ALL_CROWDS
from mal_core.data.view import view_of
from mal_core.errors import DatasetError
from mal_core.evaluation.label_pairs import (
    SPLIT,
    Pair,
    label_crowds,
    pair_notes,
    pair_problems,
)
from mal_core.evaluation.masked import MaskedObject, masked_of
from mal_core.geometry.boundary import boundary_iou
from mal_core.geometry.boxes import box_area, size_bin
from mal_core.geometry.mask_forms import is_mask, mask_problem
from mal_core.geometry.masks import segmentation_to_mask


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
    a label counts as 0, so that leaving out hard ones cannot raise a mean. A label that is a
    crowd is none of one object: a segmenter is not trained on it either.

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
    judged = [each for each in masked_of(truth).judged() if coco_mask.area(each.rle()) > 0]
    if not judged:
        raise DatasetError(human, ["no object has a human mask. Give the file with masks."])
    pair = Pair(labeled=content, labels=labels, human=truth, judged=judged)
    problems = pair_problems(pair)
    if problems:
        raise DatasetError(labeled, problems)
    label_of = _usable(pair, labeled, human)
    objects = (_compare(each, label_of.get(each.annotation_id)) for each in judged)
    return Comparison(objects=tuple(objects), notes=tuple(pair_notes(pair)))


def _usable(pair: Pair, labeled: Path, human: Path) -> dict[int, object]:
    """The masks of the labels, all sound, at least one of them of a judged object."""
    masks = {
        key: entry["segmentation"]
        for key, entry in pair.labels.items()
        if is_mask(entry.get("segmentation"))
    }
    crowds = label_crowds(pair.labels) & masks.keys()
    found = {key: mask for key, mask in masks.items() if key not in crowds}
    judged = {each.annotation_id for each in pair.judged}
    if crowds & judged and not found.keys() & judged:
        problem = (
            f"its {len(crowds & judged)} masks are crowds (iscrowd=1), which label no single "
            f"object. {ALL_CROWDS}"
        )
        raise DatasetError(labeled, [problem])
    if not found.keys() & judged:
        same = any(each.annotation_id in pair.labels for each in pair.judged)
        problem = (
            "no annotation has a mask (polygons of at least three points, or RLE)."
            if same
            else f"no annotation id in common with {human}, and objects are compared by their "
            f"ids. {SPLIT} Masks that `mal label` makes from the boxes of the human file have "
            "its ids."
        )
        raise DatasetError(labeled, [problem])
    problems = [
        f"annotation {each.annotation_id} {wrong}"
        for each in pair.judged
        if (wrong := _problem(each, found.get(each.annotation_id)))
    ]
    if problems:
        raise DatasetError(labeled, problems)
    return found


def _problem(human: MaskedObject, label: object) -> str | None:
    return mask_problem(label, human.image.height, human.image.width)


def _compare(human: MaskedObject, label: object) -> Agreement:
    truth = human.mask()
    mask = None if label is None else segmentation_to_mask(label, *truth.shape)
    return Agreement(
        annotation_id=human.annotation_id,
        category=human.category,
        size=int(size_bin(box_area(human.box_xyxy))),
        mask_iou=0.0 if mask is None else _iou(mask, truth),
        boundary_iou=0.0 if mask is None else boundary_iou(mask, truth),
        labeled=mask is not None,
    )


def _iou(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 0.0
