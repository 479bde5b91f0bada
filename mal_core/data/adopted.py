"""Masks from another tool, adopted as pseudo-labels of a COCO file by annotation id."""

from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from mal_core.data.coco import read_boxes
from mal_core.data.matched import match_masks
from mal_core.data.pseudo_labels import score_problem, write_pseudo_labels
from mal_core.errors import DatasetError
from mal_core.types import (
    HUMAN_SOURCE,
    REJECTED,
    REVIEW,
    PseudoLabel,
    PseudoLabelSet,
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
    given = match_masks(labels, dataset, boxes_of=source)
    found: list[PseudoLabel] = []
    skipped: list[SkippedBox] = []
    for box in dataset.boxes:
        key = box.annotation_id
        rle, entry = given.masks.get(key), given.entries.get(key, {})
        if rle is None:
            reason = SkipReason.EMPTY_MASK if key in given.empty else _why_absent(entry)
            skipped.append(SkippedBox(annotation_id=key, image_id=box.image_id, reason=reason))
            continue
        area, score = int(coco_mask.area(rle)), _score(entry, given.problems)
        human = entry.get("source") == HUMAN_SOURCE
        found.append(
            PseudoLabel(annotation_id=key, rle=rle, mask_area=area, score=score, human=human)
        )
    if given.problems:
        raise DatasetError(labels, given.problems)
    given.tell(labels)
    return write_pseudo_labels(source, found, [*dataset.skipped, *skipped], output, ledger)


def _why_absent(entry: dict[str, Any]) -> SkipReason:
    return SkipReason.REJECTED if entry.get(REVIEW) == REJECTED else SkipReason.NOT_GIVEN


def _score(entry: dict[str, Any], problems: list[str]) -> float:
    score = entry.get("score", GIVEN_SCORE)
    if problem := score_problem(entry["id"], score):
        problems.append(problem)
        return 0.0
    return float(score)
