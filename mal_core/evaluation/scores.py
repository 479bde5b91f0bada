"""Scores against human masks: COCO AP of detections, IoU of pseudo-labels."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mal_core.data.coco import drop_mask, parse_coco
from mal_core.data.pseudo_labels import COMPONENTS
from mal_core.data.results import read_results
from mal_core.evaluation.masked import MaskedObject, masks_by_id, read_masked
from mal_core.evaluation.matching import match_results
from mal_core.geometry.boxes import SIZE_NAMES, box_area, size_bin
from mal_core.geometry.masks import box_to_rle, ellipse_to_rle, rle_iou, segmentation_to_rle
from mal_core.quality.score import drift_line
from mal_core.types import LabelQuality, MaskMetrics, SizeMeans


def evaluate_detections(annotations: Path, detections: Path) -> dict[str, MaskMetrics]:
    """COCO AP of the boxes and of the masks of one results file, "bbox" and "segm".

    A detection without a mask has no part in the masks' AP.

    Args:
        annotations: COCO file with human masks.
        detections: COCO results list with `bbox` in every entry.
    """
    results, truth = read_results(detections, ["bbox"]), parse_coco(annotations)
    boxes = [{k: v for k, v in entry.items() if k != "segmentation"} for entry in results]
    masks = [entry for entry in results if "segmentation" in entry]
    return {
        "bbox": match_results(truth, boxes, "bbox").metrics(),
        "segm": match_results(truth, masks, "segm").metrics(),
    }


def label_quality(labeled: Path, human: Path) -> LabelQuality | None:
    """IoU of every pseudo-label with the human mask of the same annotation id.

    Crowds, boxes of zero size and human masks without a pixel are left out. A box that was
    skipped counts as 0, so that leaving out hard boxes cannot raise the mean.

    Args:
        labeled: Pseudo-label file.
        human: COCO file with human masks for the same annotations.

    Returns:
        None when the human file has no mask at all.
    """
    pseudo_of = masks_by_id(labeled)
    found = [
        (each, values)
        for each in read_masked(human).judged()
        if (values := _ious(each, pseudo_of.get(each.annotation_id))) is not None
    ]
    if not found:
        return None
    judged, ious = [each for each, _ in found], np.array([values for _, values in found])
    bins = size_bin(box_area(np.array([each.box_xyxy for each in judged])))
    return LabelQuality(
        mask_iou=_means(ious[:, 0], bins),
        box_fill=_means(ious[:, 1], bins),
        ellipse=_means(ious[:, 2], bins),
        counts={
            "all": len(judged),
            **{name: int((bins == index).sum()) for index, name in enumerate(SIZE_NAMES)},
        },
        iou_of={
            each.annotation_id: float(value) for each, value in zip(judged, ious[:, 0], strict=True)
        },
    )


def _ious(human: MaskedObject, pseudo: object) -> tuple[float, float, float] | None:
    """IoU with the human mask of the pseudo-label, the filled box and the ellipse.

    None where the human mask covers no pixel: nothing could agree with it.
    """
    height, width = human.image.height, human.image.width
    gt_mask, box = human.rle(), human.box_xyxy
    if not coco_mask.area(gt_mask):
        return None
    pseudo_iou = (
        0.0 if pseudo is None else rle_iou(segmentation_to_rle(pseudo, height, width), gt_mask)
    )
    filled = rle_iou(box_to_rle(box, height, width), gt_mask)
    return pseudo_iou, filled, rle_iou(ellipse_to_rle(box, height, width), gt_mask)


def _means(values: NDArray[np.float64], bins: NDArray[np.int64]) -> SizeMeans:
    means = {
        name: float(values[bins == index].mean()) if (bins == index).any() else None
        for index, name in enumerate(SIZE_NAMES)
    }
    return SizeMeans(all=float(values.mean()), **means)


def drift(labeled: Path) -> dict[str, str]:
    """What the report says of boxes unlike the training crops; nothing where it is not known."""
    entries = parse_coco(labeled, drop_mask)["annotations"]
    line = drift_line(entry.get(COMPONENTS) or {} for entry in entries)
    return {} if line is None else {"drift": line}


def score_histogram(labeled: Path) -> tuple[int, ...]:
    """How many labels have a score in [0, 0.1), [0.1, 0.2), ... [0.9, 1]."""
    entries = parse_coco(labeled, drop_mask)["annotations"]
    scores = [float(entry["score"]) for entry in entries if "score" in entry]
    counts, _ = np.histogram(scores, bins=10, range=(0.0, 1.0))
    return tuple(int(count) for count in counts)
