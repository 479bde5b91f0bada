"""Masks from another tool, adopted as pseudo-labels of a COCO file by annotation id."""

import reprlib
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mal_core.data.coco import annotations_by_id, read_boxes
from mal_core.data.mask_census import LEAST_BOX_IOU
from mal_core.data.pseudo_labels import write_pseudo_labels
from mal_core.errors import DatasetError, MaskError
from mal_core.geometry.mask_forms import read_mask
from mal_core.geometry.masks import segmentation_to_rle
from mal_core.types import (
    HUMAN_SOURCE,
    REJECTED,
    REVIEW,
    PseudoLabel,
    PseudoLabelSet,
    Rle,
    SkippedBox,
    SkipReason,
)

GIVEN_SCORE = 1.0


def adopt_labels(
    source: Path, labels: Path, *, images: Path, strict: bool, output: Path, ledger: Path
) -> PseudoLabelSet:
    """Write the source file with the masks of another one; every box is accounted for.

    Args:
        source: COCO file whose boxes, classes and fields are kept.
        labels: COCO file with masks in any of the three encodings.
        images: Folder of the source's images.
        strict: As in `read_boxes`.
        output: Receives the labeled file.
        ledger: Receives the boxes without a mask, with reasons.

    Raises:
        DatasetError: An id twice, no mask for any box, a mask of another size than its image,
            or masks that are not where the boxes are.
    """
    dataset = read_boxes(images, source, strict=strict)
    sizes = {image.image_id: (image.height, image.width) for image in dataset.images}
    given = annotations_by_id(labels)
    found: list[PseudoLabel] = []
    fits: list[float] = []
    skipped: list[SkippedBox] = []
    problems: list[str] = []
    for box in dataset.boxes:
        entry = given.get(box.annotation_id, {})
        rle = _mask(entry, sizes[box.image_id], problems)
        area = 0 if rle is None else int(coco_mask.area(rle))
        if rle is None or area == 0:
            reason = SkipReason.EMPTY_MASK if rle is not None else _why_absent(entry)
            skipped.append(
                SkippedBox(annotation_id=box.annotation_id, image_id=box.image_id, reason=reason)
            )
            continue
        x0, y0, x1, y1 = box.box_xyxy
        own_xywh, given_xywh = coco_mask.toBbox(rle), np.array([x0, y0, x1 - x0, y1 - y0])
        fits.append(float(coco_mask.iou(own_xywh[None], given_xywh[None], [0])[0, 0]))
        score = _score(entry, problems)
        human = entry.get("source") == HUMAN_SOURCE
        key = box.annotation_id
        found.append(
            PseudoLabel(annotation_id=key, rle=rle, mask_area=area, score=score, human=human)
        )
    if not found and not problems:
        problems.append(f"no annotation has the id of a box in {source} and a mask.")
    if fits and np.mean(fits) < LEAST_BOX_IOU:
        problems.append(
            f"its masks are not those of the boxes of {source}: the boxes around them have a mean "
            f"IoU of {np.mean(fits):.2f} with the boxes of the same ids. Is it the right file?"
        )
    if problems:
        raise DatasetError(labels, problems)
    return write_pseudo_labels(source, found, [*dataset.skipped, *skipped], output, ledger)


def _why_absent(entry: dict[str, Any]) -> SkipReason:
    return SkipReason.REJECTED if entry.get(REVIEW) == REJECTED else SkipReason.NOT_GIVEN


def _score(entry: dict[str, Any], problems: list[str]) -> float:
    score = entry.get("score", GIVEN_SCORE)
    if type(score) not in (int, float) or not 0 <= score <= 1:
        problems.append(
            f"annotation {entry['id']} has score={reprlib.repr(score)}, but a score is a number "
            "from 0 to 1. Correct or drop it."
        )
        return 0.0
    return float(score)


def _mask(entry: dict[str, Any], size: tuple[int, int], problems: list[str]) -> Rle | None:
    try:
        mask = read_mask(entry.get("segmentation"), *size)
    except MaskError as error:
        problems.append(f"annotation {entry['id']} {error}")
        return None
    return None if mask is None else segmentation_to_rle(mask, *size)
