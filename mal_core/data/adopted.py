"""Masks from another tool, adopted as pseudo-labels of a COCO file by annotation id."""

from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mal_core.data.coco import parse_coco, read_boxes
from mal_core.data.pseudo_labels import write_pseudo_labels
from mal_core.errors import DatasetError
from mal_core.masks import segmentation_to_rle
from mal_core.types import PseudoLabel, PseudoLabelSet, Rle, SkippedBox, SkipReason

GIVEN_SCORE = 1.0
LEAST_BOX_IOU = 0.2
"""On average; masks eroded by several pixels still have 0.5, those of another file 0.05."""


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
        DatasetError: No mask for any box, a mask of another size than its image, or masks that
            are not where the boxes are.
    """
    dataset = read_boxes(images, source, strict=strict)
    sizes = {image.image_id: (image.height, image.width) for image in dataset.images}
    given = {
        entry.get("id"): entry for entry in parse_coco(labels, lambda entry: entry)["annotations"]
    }
    found: list[PseudoLabel] = []
    fits: list[float] = []
    skipped: list[SkippedBox] = []
    problems: list[str] = []
    for box in dataset.boxes:
        entry = given.get(box.annotation_id, {})
        rle = _mask(entry, sizes[box.image_id], problems)
        area = 0 if rle is None else int(coco_mask.area(rle))
        if rle is None or area == 0:
            reason = SkipReason.NOT_GIVEN if rle is None else SkipReason.EMPTY_MASK
            skipped.append(
                SkippedBox(annotation_id=box.annotation_id, image_id=box.image_id, reason=reason)
            )
            continue
        x0, y0, x1, y1 = box.box_xyxy
        own_xywh, given_xywh = coco_mask.toBbox(rle), np.array([x0, y0, x1 - x0, y1 - y0])
        fits.append(float(coco_mask.iou(own_xywh[None], given_xywh[None], [0])[0, 0]))
        score = float(entry.get("score", GIVEN_SCORE))
        found.append(
            PseudoLabel(annotation_id=box.annotation_id, rle=rle, mask_area=area, score=score)
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


def _mask(entry: dict[str, Any], size: tuple[int, int], problems: list[str]) -> Rle | None:
    segmentation = entry.get("segmentation")
    if not segmentation:
        return None
    if isinstance(segmentation, dict) and tuple(segmentation.get("size", ())) != size:
        problems.append(
            f"annotation {entry['id']} has a mask of {segmentation.get('size')} (height, width) "
            f"px, but its image has {list(size)}."
        )
        return None
    try:
        return segmentation_to_rle(segmentation, *size)
    except ValueError as error:
        problems.append(f"annotation {entry['id']}: {error}.")
        return None
