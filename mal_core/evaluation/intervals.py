"""How far a retention rate can be trusted: a paired bootstrap over images and seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mal_core.evaluation.average_precision import Matches
from mal_core.evaluation.resampling import resampled_metrics

FloatArray = NDArray[np.float64]
RESAMPLES = 1000
LEVEL = 0.95
LEAST_DEFINED = 0.95
"""Share of resamples in which a rate must exist for an interval to mean something."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """Where a number lies in `LEVEL` of all resamples."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether a value is compatible with what was measured."""
        return self.low <= value <= self.high


def retention_intervals(
    human: Sequence[Matches],
    pseudo: Sequence[Matches],
    *,
    resamples: int = RESAMPLES,
    only_ap: bool = False,
) -> dict[str, Interval | None]:
    """Percentile intervals of pseudo AP / human AP, per metric.

    Every resample draws the validation images with replacement, the same ones for both
    arms: a hard image is hard for both. With several seeds, the trainings of each arm
    are drawn too.

    Args:
        human, pseudo: One entry per seed, all on the same images.
        resamples: How many; the draws are always the same ones.
        only_ap: Leave all metrics but `ap` undefined; several times as fast.

    Returns:
        By field of MaskMetrics; None where the rate is undefined in over 5 % of resamples.
    """
    generator = np.random.default_rng(0)
    images = len(human[0].image_ids)
    weights = np.zeros((images, resamples))
    chosen = [np.zeros((len(arm), resamples)) for arm in (human, pseudo)]
    for number in range(resamples):
        drawn = generator.integers(0, images, images)
        weights[:, number] = np.bincount(drawn, minlength=images)
        for counts in chosen:
            picked = generator.integers(0, len(counts), len(counts))
            counts[:, number] = np.bincount(picked, minlength=len(counts))
    below, above = (
        _mean_of_drawn(arm, counts, weights, only_ap=only_ap)
        for arm, counts in zip((human, pseudo), chosen, strict=True)
    )
    intervals = {}
    for name, divisor in below.items():
        defined = ~np.isnan(divisor) & ~np.isnan(above[name]) & (divisor > 0)
        intervals[name] = _interval(above[name][defined] / divisor[defined], resamples)
    return intervals


def _mean_of_drawn(
    runs: Sequence[Matches], counts: FloatArray, weights: FloatArray, *, only_ap: bool
) -> dict[str, FloatArray]:
    """Mean metrics over the trainings drawn in each resample, (B,); NaN where one is undefined."""
    tables = [resampled_metrics(run, weights, only_ap=only_ap) for run in runs]
    found = {}
    for name in tables[0]:
        values = np.stack([table[name] for table in tables])
        parts = np.where(counts > 0, counts * values, 0.0)
        found[name] = np.asarray(parts.sum(axis=0) / len(runs))
    return found


def _interval(values: FloatArray, resamples: int) -> Interval | None:
    if len(values) < LEAST_DEFINED * resamples:
        return None
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(low=float(low), high=float(high))


def verdict(rate: float | None, interval: Interval | None) -> str:
    """What the numbers allow to say about pseudo-labels against human masks."""
    if rate is None or interval is None:
        return "undefined"
    if interval.holds(1.0):
        return "not distinguishable"
    return "pseudo-labels are worse" if interval.high < 1 else "pseudo-labels are better"
