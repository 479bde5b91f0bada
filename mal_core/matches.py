"""COCO AP in two halves: match once, accumulate for any weighting of the images.

The matching is pycocotools' own. The second half is written again here, because a
bootstrap accumulates a thousand times and needs images that count twice or not at all;
with weights of one it gives pycocotools' numbers.

Shape letters: I images, D detections of a class, A area ranges, T IoU thresholds, R recalls.
"""

import contextlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mal_core.boundary import boundary_rle
from mal_core.errors import DatasetError
from mal_core.types import MaskMetrics, Rle

FloatArray = NDArray[np.float64]
ALL, SMALL, MEDIUM, LARGE = range(4)
"""COCO's area ranges, by area of the mask."""
IOU_50, IOU_75 = 0, 5
"""Places among the thresholds 0.50, 0.55, ..., 0.95."""
TINY = np.spacing(1)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassMatches:
    """The detections of one class on all images, by falling score.

    Attributes:
        image: Index of each detection's image, (D,).
        hit: The detection found an object, (A, T, D).
        ignored: It counts neither way, (A, T, D).
        objects: Objects to find in each image, (A, I).
    """

    name: str
    image: NDArray[np.int64]
    hit: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    objects: NDArray[np.int64]

    def average_precision(self, weights: FloatArray, recalls: FloatArray) -> FloatArray:
        """Precision averaged over recalls, (A, T); NaN where there is nothing to find.

        Args:
            weights: How often each image counts, (I,).
            recalls: Levels of recall, (R,).
        """
        found = np.full(self.hit.shape[:2], np.nan)
        count = weights[self.image]
        total = self.objects @ weights
        for area in np.flatnonzero(total > 0):
            hits = np.cumsum((self.hit[area] & ~self.ignored[area]) * count, axis=1)
            misses = np.cumsum((~self.hit[area] & ~self.ignored[area]) * count, axis=1)
            recall = hits / total[area]
            precision = hits / (hits + misses + TINY)
            envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            for threshold in range(len(found[area])):
                place = np.searchsorted(recall[threshold], recalls, side="left")
                reached = place < recall.shape[1]
                total_precision = envelope[threshold][place[reached]].sum()
                found[area, threshold] = total_precision / len(recalls)
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Matches:
    """All classes of one results file against one annotation file."""

    image_ids: tuple[int, ...]
    recalls: FloatArray
    classes: tuple[ClassMatches, ...]

    def average_precision(self, weights: FloatArray | None = None) -> FloatArray:
        """(classes, A, T), NaN where a class has no object of that area."""
        chosen = np.ones(len(self.image_ids)) if weights is None else weights
        return np.stack([one.average_precision(chosen, self.recalls) for one in self.classes])

    def metrics(self, weights: FloatArray | None = None) -> MaskMetrics:
        """COCO's six numbers, in [0, 1]; None where nothing is to be found."""
        return metrics_of(self.average_precision(weights))

    def per_class(self) -> dict[str, float | None]:
        """AP of each class by its name."""
        values = self.average_precision()[:, ALL].mean(axis=1)
        return {one.name: _defined(v) for one, v in zip(self.classes, values, strict=True)}


def metrics_of(precision: FloatArray) -> MaskMetrics:
    """COCO's six numbers from average precisions (classes, A, T)."""
    return MaskMetrics(
        ap=_mean(precision[:, ALL]),
        ap50=_mean(precision[:, ALL, IOU_50]),
        ap75=_mean(precision[:, ALL, IOU_75]),
        ap_small=_mean(precision[:, SMALL]),
        ap_medium=_mean(precision[:, MEDIUM]),
        ap_large=_mean(precision[:, LARGE]),
    )


def _mean(values: FloatArray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def match_predictions(annotations: Path, predictions: Path, kind: str = "segm") -> Matches:
    """Match the entries of a results file with the objects of an annotation file.

    Args:
        annotations: COCO file with human masks.
        predictions: COCO results list.
        kind: "segm", "bbox", or "boundary": masks by the smaller of their IoU and of that of
            the bands along their outlines (Cheng et al., CVPR 2021).

    Raises:
        DatasetError: Predictions without masks.
    """
    results = json.loads(predictions.read_text())
    needed = "bbox" if kind == "bbox" else "segmentation"
    boxes_only = [str(i) for i, result in enumerate(results) if needed not in result]
    if boxes_only:
        what = "box" if kind == "bbox" else "mask"
        problem = f"{len(boxes_only)} predictions have no {what}, the first at {boxes_only[0]}"
        raise DatasetError(predictions, [problem])
    return match_results(annotations, results, kind)


def match_results(annotations: Path, results: list[dict[str, Any]], kind: str) -> Matches:
    """`match_predictions` of a list in memory."""
    # pycocotools prints; its lines say nothing that the result does not.
    with contextlib.redirect_stdout(io.StringIO()):
        truth = renumbered(COCO(str(annotations)))
        found = truth.loadRes(results) if results else _nothing(truth)
        evaluator = (
            _BoundaryEval(truth, found) if kind == "boundary" else COCOeval(truth, found, kind)
        )
        evaluator.evaluate()
    return _collect(evaluator, {c["id"]: c["name"] for c in truth.dataset["categories"]})


class _BoundaryEval(COCOeval):  # type: ignore[misc] # pycocotools has no types
    """Masks agree as far as both their areas and their outlines do."""

    def __init__(self, truth: COCO, found: COCO) -> None:
        super().__init__(truth, found, "segm")
        self._bands: dict[tuple[str, int], Rle] = {}

    def computeIoU(self, image_id: int, category_id: int) -> Any:  # noqa: N802 - its name
        """IoU of each detection, by falling score, with each object: (D, G), or []."""
        by_area = super().computeIoU(image_id, category_id)
        if len(by_area) == 0:
            return by_area
        objects, found = self._gts[image_id, category_id], self._dts[image_id, category_id]
        order = np.argsort([-one["score"] for one in found], kind="mergesort")
        kept = [found[index] for index in order[: self.params.maxDets[-1]]]
        crowds = [int(one["iscrowd"]) for one in objects]
        by_band = coco_mask.iou(
            [self._band("found", one) for one in kept],
            [self._band("object", one) for one in objects],
            crowds,
        )
        return np.minimum(by_area, np.where(np.array(crowds) > 0, by_area, by_band))

    def _band(self, side: str, entry: Mapping[str, Any]) -> Rle:
        key = side, int(entry["id"])
        if key not in self._bands:
            # evaluate() has turned every segmentation into compressed RLE.
            self._bands[key] = boundary_rle(entry["segmentation"], *entry["segmentation"]["size"])
        return self._bands[key]


def renumbered(truth: COCO) -> COCO:
    """Count annotations from 1: COCOeval takes a match with id 0 for no match."""
    for number, annotation in enumerate(truth.dataset["annotations"], start=1):
        annotation["id"] = number
    truth.createIndex()
    return truth


def _nothing(truth: COCO) -> COCO:
    empty = COCO()
    empty.dataset = {**truth.dataset, "annotations": []}
    empty.createIndex()
    return empty


def _collect(evaluator: COCOeval, names: Mapping[int, str]) -> Matches:
    params = evaluator._paramsEval
    images, areas = len(params.imgIds), len(params.areaRng)
    grid = np.array(evaluator.evalImgs, dtype=object).reshape(-1, areas, images)
    return Matches(
        image_ids=tuple(int(image_id) for image_id in params.imgIds),
        recalls=np.asarray(params.recThrs),
        classes=tuple(
            _class_matches(names[category], grid[index], len(params.iouThrs))
            for index, category in enumerate(params.catIds)
        ),
    )


def _class_matches(name: str, entries: NDArray[np.object_], thresholds: int) -> ClassMatches:
    """Entries: pycocotools' records of one class, (A, I), None where an image has nothing."""
    areas, images = entries.shape
    objects = np.zeros((areas, images), np.int64)
    present = [i for i in range(images) if entries[ALL, i] is not None]
    for area in range(areas):
        for i in present:
            ignored = np.asarray(entries[area, i]["gtIgnore"])
            objects[area, i] = np.count_nonzero(ignored == 0)
    empty = np.zeros((thresholds, 0))
    scores = [np.asarray(entries[ALL, i]["dtScores"], float) for i in present]
    order = np.argsort(-np.concatenate([*scores, np.zeros(0)]), kind="mergesort")

    def gather(key: str) -> NDArray[np.bool_]:
        rows = [
            np.concatenate([*(entries[area, i][key] for i in present), empty], axis=1)[:, order]
            for area in range(areas)
        ]
        return np.stack(rows) != 0

    counts = [len(values) for values in scores]
    image = np.repeat(np.array(present, np.int64), counts)[order]
    return ClassMatches(
        name=name,
        image=image,
        hit=gather("dtMatches"),
        ignored=gather("dtIgnore"),
        objects=objects,
    )
