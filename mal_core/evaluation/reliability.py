"""How far a score can be trusted: does it order masks by their IoU, and is it that IoU?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

NUM_BINS = 10
BAD = 0.5
QUEUE = 0.05
"""Share of the masks that someone looks at, the lowest scores first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityBin:
    """Masks of similar score: how many, their mean score and their mean IoU."""

    objects: int
    score: float
    mask_iou: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Reliability:
    """Scores of masks against their IoU with human masks.

    Attributes:
        objects: How many masks.
        spearman: Rank correlation; None where either is the same for all.
        bad_below: IoU below which a mask counts as bad.
        bad: How many are.
        auroc: Chance that a bad mask has the lower score of a random pair; None without a pair.
        calibration_error: Mean distance of score and IoU over the bins, by their objects.
        lift: How much larger the share of bad masks is among the lowest 5 % of scores than
            among all; None without a bad one.
        bins: Ten bins of score, those with objects, lowest first.
    """

    objects: int
    spearman: float | None
    bad_below: float
    bad: int
    auroc: float | None
    calibration_error: float
    lift: float | None
    bins: tuple[ReliabilityBin, ...]


def reliability(scores: FloatArray, ious: FloatArray, *, bad_below: float = BAD) -> Reliability:
    """Compare scores of masks with their IoUs.

    Args:
        scores: At least one, in [0, 1], shape (N,).
        ious: In [0, 1], shape (N,).
        bad_below: IoU below which a mask is bad.
    """
    bad = ious < bad_below
    bins = _bins(scores, ious)
    error = sum(bin_.objects * abs(bin_.score - bin_.mask_iou) for bin_ in bins) / len(scores)
    return Reliability(
        objects=len(scores),
        spearman=rank_correlation(scores, ious),
        bad_below=bad_below,
        bad=int(bad.sum()),
        auroc=_auroc(scores, bad),
        calibration_error=error,
        lift=_lift(scores, bad),
        bins=bins,
    )


def _ranks(values: FloatArray) -> FloatArray:
    from scipy.stats import rankdata  # costs every process that compares nothing, too

    return np.asarray(rankdata(values), dtype=np.float64)


def rank_correlation(one: FloatArray, other: FloatArray) -> float | None:
    """Spearman's rank correlation.

    Args:
        one: At least one value, shape (N,).
        other: Shape (N,).

    Returns:
        In [-1, 1]; None where either is the same for all.
    """
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _auroc(scores: FloatArray, bad: NDArray[np.bool_]) -> float | None:
    num_bad, num_good = int(bad.sum()), int((~bad).sum())
    if num_bad == 0 or num_good == 0:
        return None
    below = _ranks(-scores)[bad].sum() - num_bad * (num_bad + 1) / 2
    return float(below / (num_bad * num_good))


def _lift(scores: FloatArray, bad: NDArray[np.bool_]) -> float | None:
    if not bad.any():
        return None
    count = max(1, round(QUEUE * len(scores)))
    lowest = np.argsort(scores, kind="stable")[:count]
    return float(bad[lowest].mean() / bad.mean())


def _bins(scores: FloatArray, ious: FloatArray) -> tuple[ReliabilityBin, ...]:
    places = np.minimum((scores * NUM_BINS).astype(int), NUM_BINS - 1)
    return tuple(
        ReliabilityBin(
            objects=int((places == place).sum()),
            score=float(scores[places == place].mean()),
            mask_iou=float(ious[places == place].mean()),
        )
        for place in np.unique(places)
    )
