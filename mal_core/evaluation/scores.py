"""Scores against human masks: COCO AP of predictions, IoU of pseudo-labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mal_core.data.coco import drop_mask, parse_coco
from mal_core.data.results import read_results
from mal_core.evaluation.matching import match_predictions, match_results
from mal_core.geometry.boxes import SIZE_NAMES, box_area, size_bin
from mal_core.geometry.mask_forms import is_mask
from mal_core.geometry.masks import box_to_rle, ellipse_to_rle, rle_iou, segmentation_to_rle
from mal_core.types import LabelQuality, MaskMetrics, SizeMeans


def evaluate_masks(annotations: Path, predictions: Path) -> MaskMetrics:
    """COCO mask AP of a results file.

    Args:
        annotations: COCO file with human masks.
        predictions: COCO results list with `segmentation` in every entry.

    Returns:
        Values in [0, 1]; None where the file has no ground truth of that size.

    Raises:
        DatasetError: Predictions without masks.
    """
    return match_predictions(annotations, predictions).metrics()


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
    content = parse_coco(human)
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    pseudo_of = {
        entry["id"]: entry.get("segmentation") for entry in parse_coco(labeled)["annotations"]
    }
    found = [
        (entry, values)
        for entry in content["annotations"]
        if is_judged(entry)
        and (values := _ious(entry, pseudo_of, sizes[entry["image_id"]])) is not None
    ]
    if not found:
        return None
    judged, ious = [entry for entry, _ in found], np.array([values for _, values in found])
    boxes = np.array([clipped_box(entry, *sizes[entry["image_id"]]) for entry in judged])
    bins = size_bin(box_area(boxes))
    return LabelQuality(
        mask_iou=_means(ious[:, 0], bins),
        box_fill=_means(ious[:, 1], bins),
        ellipse=_means(ious[:, 2], bins),
        counts={
            "all": len(judged),
            **{name: int((bins == index).sum()) for index, name in enumerate(SIZE_NAMES)},
        },
        iou_of={entry["id"]: float(value) for entry, value in zip(judged, ious[:, 0], strict=True)},
    )


def is_judged(entry: Mapping[str, Any]) -> bool:
    """Whether an annotation is an object with a human mask and a box of positive size."""
    _, _, width, height = entry["bbox"]
    has_mask = is_mask(entry.get("segmentation"))
    return has_mask and not entry.get("iscrowd", 0) and width > 0 and height > 0


def clipped_box(entry: Mapping[str, Any], height: int, width: int) -> NDArray[np.float64]:
    """The box of an annotation inside its image, xyxy in px, shape (4,)."""
    x, y, w, h = entry["bbox"]
    return np.array([max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)], dtype=float)


def _ious(
    entry: Mapping[str, Any], pseudo_of: Mapping[int, object], size: Sequence[int]
) -> tuple[float, float, float] | None:
    """IoU with the human mask of the pseudo-label, the filled box and the ellipse.

    None where the human mask covers no pixel: nothing could agree with it.
    """
    height, width = size
    gt_mask = segmentation_to_rle(entry["segmentation"], height, width)
    if not coco_mask.area(gt_mask):
        return None
    box = clipped_box(entry, height, width)
    pseudo = pseudo_of.get(entry["id"])
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


def score_histogram(labeled: Path) -> tuple[int, ...]:
    """How many labels have a score in [0, 0.1), [0.1, 0.2), ... [0.9, 1]."""
    entries = parse_coco(labeled, drop_mask)["annotations"]
    scores = [float(entry["score"]) for entry in entries if "score" in entry]
    counts, _ = np.histogram(scores, bins=10, range=(0.0, 1.0))
    return tuple(int(count) for count in counts)
