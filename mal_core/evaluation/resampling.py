"""AP of many resamples of the same images at once.

A resample is a column of weights, how often each image counts. Accumulating one resample
touches every detection; but precision matters at hits only, and the misses between two hits
are a weighted sum over images. So each class becomes a small sparse matrix, and all
resamples are one product with it.

Shape letters: I images, B resamples, D detections, H hits among them, A areas, T thresholds.
"""

from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from mal_core.evaluation.average_precision import (
    ALL,
    FREQUENCIES,
    IOU_50,
    IOU_75,
    LARGE,
    MEDIUM,
    SMALL,
    TINY,
    ClassMatches,
    Matches,
)
from mal_core.types import MaskMetrics

FloatArray = NDArray[np.float64]
CHUNK = 250
"""Resamples at once: what one class needs for them fits into a processor's cache."""


def resampled_metrics(
    matches: Matches, weights: FloatArray, *, only_ap: bool = False
) -> dict[str, FloatArray]:
    """The metrics of every resample, equal to `Matches.metrics` of its weights.

    Args:
        matches: Predictions of one training.
        weights: How often each image counts, (I, B).
        only_ap: Leave all but `ap` undefined, at a quarter of the work.

    Returns:
        By field of MaskMetrics, (B,); NaN where it is undefined.
    """
    parts = [
        # A copy, in order: a slice would be copied for each class and threshold again.
        _chunk(matches, np.ascontiguousarray(weights[:, start : start + CHUNK]), only_ap)
        for start in range(0, weights.shape[1], CHUNK)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _chunk(matches: Matches, weights: FloatArray, only_ap: bool) -> dict[str, FloatArray]:
    areas = (ALL,) if only_ap else (ALL, SMALL, MEDIUM, LARGE)
    precision = np.full((len(matches.classes), 4, 10, weights.shape[1]), np.nan)
    for index, of_class in enumerate(matches.classes):
        for area in areas:
            precision[index, area] = _average_precision(of_class, area, weights, matches.recalls)
    groups = np.array([of_class.frequency for of_class in matches.classes])
    undefined = np.full(weights.shape[1], np.nan)
    found: dict[str, FloatArray] = dict.fromkeys(
        (field.name for field in fields(MaskMetrics)), undefined
    )
    found["ap"] = _mean(precision[:, ALL])
    if not only_ap:
        found["ap50"] = _mean(precision[:, ALL, [IOU_50]])
        found["ap75"] = _mean(precision[:, ALL, [IOU_75]])
        for name, area in (("ap_small", SMALL), ("ap_medium", MEDIUM), ("ap_large", LARGE)):
            found[name] = _mean(precision[:, area])
        for name, letter in FREQUENCIES.items():
            found[name] = _mean(precision[groups == letter, ALL])
    return found


def _mean(values: FloatArray) -> FloatArray:
    """Mean over classes and thresholds where there is something to find, (C, T, B) -> (B,)."""
    known = ~np.isnan(values)
    count = known.sum(axis=(0, 1))
    total = np.where(known, values, 0.0).sum(axis=(0, 1))
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def _average_precision(
    of_class: ClassMatches, area: int, weights: FloatArray, recalls: FloatArray
) -> FloatArray:
    """(T, B); NaN for resamples in which the class has nothing to find."""
    total = of_class.objects[area] @ weights
    nothing = total <= 0
    divisor = np.where(nothing, 1.0, total)
    rows = [
        _one_threshold(of_class.image, hit, ignored, weights, divisor, recalls)
        for hit, ignored in zip(of_class.hit[area], of_class.ignored[area], strict=True)
    ]
    found = np.stack(rows)
    found[:, nothing] = np.nan
    return found


def _one_threshold(
    image: NDArray[np.int64],
    hit: NDArray[np.bool_],
    ignored: NDArray[np.bool_],
    weights: FloatArray,
    total: FloatArray,
    recalls: FloatArray,
) -> FloatArray:
    """(B,): the highest precision at each recall or above, averaged over the recalls."""
    places = np.flatnonzero(hit & ~ignored)
    if len(places) == 0:
        return np.zeros(weights.shape[1])
    misses = np.flatnonzero(~hit[: places[-1]] & ~ignored[: places[-1]])
    following = np.searchsorted(places, misses)  # the hit that pays for a miss
    from scipy.sparse import csr_matrix  # costs every process that scores nothing, too

    table = csr_matrix(
        (np.ones(len(misses)), (following, image[misses])), shape=(len(places), len(weights))
    )
    hits = np.cumsum(weights[image[places]], axis=0)
    precision = hits / (hits + np.cumsum(table @ weights, axis=0) + TINY)
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    reached = _count_up_to(hits / total, recalls)
    fresh = np.diff(reached, axis=0, prepend=0)
    return np.asarray((fresh * envelope).sum(axis=0) / len(recalls))


def _count_up_to(values: FloatArray, recalls: FloatArray) -> NDArray[np.int64]:
    """How many of the evenly spaced recalls are at most each value, exactly.

    A guess by multiplication is at most one off; comparing with its neighbors corrects it.
    """
    last = len(recalls) - 1
    guess = np.minimum((values * last).astype(np.int64), last)
    above = np.minimum(guess + 1, last)
    guess += (guess < last) & (recalls[above] <= values)
    guess -= recalls[guess] > values
    return guess + 1
