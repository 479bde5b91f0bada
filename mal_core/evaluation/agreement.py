"""How well each mask of a labeled file agrees with the human mask of the same object."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mal_core.data.coco import annotations_by_id, parse_coco
from mal_core.data.view import view_of
from mal_core.errors import DatasetError
from mal_core.evaluation.scores import clipped_box, is_judged
from mal_core.geometry.boundary import boundary_iou
from mal_core.geometry.boxes import box_area, size_bin
from mal_core.geometry.mask_forms import is_mask, mask_problem
from mal_core.geometry.masks import segmentation_to_mask

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


def measure_agreement(labeled: Path, human: Path) -> list[Agreement]:
    """Compare every object of a human file with the label of the same annotation id.

    Crowds and boxes of zero size are left out; an object without a label counts as 0, so
    that leaving out hard ones cannot raise a mean.

    Args:
        labeled: COCO file with masks in any of the three encodings.
        human: COCO file with human masks.

    Raises:
        DatasetError: A file is no COCO file, there is nothing to compare, or a mask is wrong.
    """
    labels, truth = annotations_by_id(labeled), parse_coco(human)
    wrong = view_of(human, truth).all_problems
    if wrong:
        raise DatasetError(human, wrong)
    judged = [entry for entry in truth["annotations"] if is_judged(entry)]
    if not judged:
        raise DatasetError(human, ["no object has a human mask. Give the file with masks."])
    misplaced = list(_misplaced(labels, judged))
    if misplaced:
        raise DatasetError(labeled, misplaced)
    label_of = {
        key: entry["segmentation"]
        for key, entry in labels.items()
        if is_mask(entry.get("segmentation"))
    }
    if not any(entry["id"] in label_of for entry in judged):
        problem = f"no annotation id in common with {human}. Are both files of the same split?"
        raise DatasetError(labeled, [problem])
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    problems = [
        f"annotation {entry['id']} {found}"
        for entry in judged
        if (found := mask_problem(label_of.get(entry["id"]), *sizes[entry["image_id"]]))
    ]
    if problems:
        raise DatasetError(labeled, problems)
    name_of = {category["id"]: category["name"] for category in truth["categories"]}
    return [
        _compare(entry, label_of.get(entry["id"]), sizes[entry["image_id"]], name_of)
        for entry in judged
    ]


def _misplaced(labels: Mapping[int, Json], judged: Sequence[Json]) -> Iterator[str]:
    """Labels that say another image than the object of their id is on."""
    for human in judged:
        entry = labels.get(human["id"], {})
        if entry.get("image_id", human["image_id"]) != human["image_id"]:
            yield (
                f"annotation {human['id']} is on image {entry['image_id']!r}, but on image "
                f"{human['image_id']} in the human file. Are both files of the same split?"
            )


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
