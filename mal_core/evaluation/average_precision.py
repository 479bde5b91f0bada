"""COCO AP in two halves: match once, accumulate for any weighting of the images.

This is the second half, after mal_core.evaluation.matching. A bootstrap accumulates a thousand
times and needs images that count twice or not at all; with weights of one the numbers are those
of pycocotools and lvis-api.

Shape letters: I images, D detections of a class, A area ranges, T IoU thresholds, R recalls.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mal_core.types import MaskMetrics

FloatArray = NDArray[np.float64]
ALL, SMALL, MEDIUM, LARGE = range(4)
"""COCO's area ranges, by area of the mask."""
IOU_50, IOU_75 = 0, 5
"""Places among the thresholds 0.50, 0.55, ..., 0.95."""
FREQUENCIES = {"ap_rare": "r", "ap_common": "c", "ap_frequent": "f"}
"""Field of MaskMetrics -> LVIS's letter for classes in up to 10, 100 and more training images."""
TINY = np.spacing(1)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassMatches:
    """The detections of one class on all images, by falling score.

    Attributes:
        image: Index of each detection's image, (D,).
        hit: The detection found an object, (A, T, D).
        ignored: It counts neither way, (A, T, D).
        objects: Objects to find in each image, (A, I).
        frequency: LVIS's group of the class, r, c or f; empty elsewhere.
    """

    name: str
    image: NDArray[np.int64]
    hit: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    objects: NDArray[np.int64]
    frequency: str = ""

    def average_precision(self, weights: FloatArray, recalls: FloatArray) -> FloatArray:
        """Precision averaged over recalls.

        Args:
            weights: How often each image counts, float64, shape (I,).
            recalls: Levels of recall in [0, 1], shape (R,).

        Returns:
            In [0, 1], float64, shape (A, T); NaN where there is nothing to find.
        """
        found = np.full(self.hit.shape[:2], np.nan)
        total = self.objects @ weights
        for area in np.flatnonzero(total > 0):
            precision = self.precision(int(area), weights, recalls)
            found[area] = precision.sum(axis=1) / len(recalls)
        return found

    def precision(self, area: int, weights: FloatArray, recalls: FloatArray) -> FloatArray:
        """The highest precision at each recall or above.

        Args:
            area: An area range in which there is something to find.
            weights: How often each image counts, float64, shape (I,).
            recalls: Levels of recall in [0, 1], shape (R,).

        Returns:
            In [0, 1], float64, shape (T, R); 0 where the recall is never reached.
        """
        count = weights[self.image]
        hits = np.cumsum((self.hit[area] & ~self.ignored[area]) * count, axis=1)
        misses = np.cumsum((~self.hit[area] & ~self.ignored[area]) * count, axis=1)
        recall = hits / (self.objects[area] @ weights)
        envelope = hits / (hits + misses + TINY)
        envelope = np.maximum.accumulate(envelope[:, ::-1], axis=1)[:, ::-1]
        found = np.zeros((len(envelope), len(recalls)))
        for threshold, row in enumerate(recall):
            place = np.searchsorted(row, recalls, side="left")
            reached = place < len(row)
            found[threshold, reached] = envelope[threshold, place[reached]]
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Matches:
    """All classes of one results file against one annotation file."""

    image_ids: tuple[int, ...]
    recalls: FloatArray
    classes: tuple[ClassMatches, ...]

    def average_precision(self, weights: FloatArray | None = None) -> FloatArray:
        """Average precision by class, area range and IoU threshold.

        Args:
            weights: How often each image counts, float64, shape (I,); None: once.

        Returns:
            In [0, 1], float64, shape (classes, A, T); NaN where a class has no object of
            that area.
        """
        chosen = np.ones(len(self.image_ids)) if weights is None else weights
        return np.stack(
            [of_class.average_precision(chosen, self.recalls) for of_class in self.classes]
        )

    def metrics(self, weights: FloatArray | None = None) -> MaskMetrics:
        """COCO's six numbers and LVIS's three, in [0, 1]; None where nothing is to be found.

        Args:
            weights: How often each image counts, float64, shape (I,); None: once.
        """
        precision = self.average_precision(weights)
        groups = np.array([of_class.frequency for of_class in self.classes])
        by_frequency = {
            field: _mean(precision[groups == letter, ALL]) for field, letter in FREQUENCIES.items()
        }
        return replace(metrics_of(precision), **by_frequency)

    def curve(self, threshold: int) -> tuple[float, ...]:
        """Precision at each recall, mean over classes with objects, at one IoU threshold, (R,)."""
        weights = np.ones(len(self.image_ids))
        curves = [
            of_class.precision(ALL, weights, self.recalls)[threshold]
            for of_class in self.classes
            if of_class.objects[ALL].any()
        ]
        return tuple(np.mean(curves, axis=0).tolist()) if curves else ()

    def per_class(self) -> dict[str, float | None]:
        """AP of each class by its name."""
        values = self.average_precision()[:, ALL].mean(axis=1)
        return {
            of_class.name: _defined(v) for of_class, v in zip(self.classes, values, strict=True)
        }


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
