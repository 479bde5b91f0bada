"""How far a retention rate can be trusted: a paired bootstrap over images and seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mal_core.matches import Matches
from mal_core.types import MaskMetrics

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
    human: Sequence[Matches], pseudo: Sequence[Matches], *, resamples: int = RESAMPLES
) -> dict[str, Interval | None]:
    """Percentile intervals of pseudo AP / human AP, per metric.

    Every resample draws the validation images with replacement, the same ones for both
    twins: a hard image is hard for both. With several seeds, the trainings of each twin
    are drawn too.

    Args:
        human, pseudo: One entry per seed, all on the same images.
        resamples: How many; the draws are always the same ones.

    Returns:
        By field of MaskMetrics; None where the rate is undefined in over 5 % of resamples.
    """
    generator = np.random.default_rng(0)
    images = len(human[0].image_ids)
    rates: dict[str, list[float]] = {field.name: [] for field in fields(MaskMetrics)}
    for _ in range(resamples):
        drawn = generator.integers(0, images, images)
        weights = np.bincount(drawn, minlength=images).astype(np.float64)
        twins = [_drawn_mean(one, weights, generator) for one in (human, pseudo)]
        for name, values in rates.items():
            below, above = (twin[name] for twin in twins)
            if not np.isnan(below) and not np.isnan(above) and below > 0:
                values.append(above / below)
    return {name: _interval(values, resamples) for name, values in rates.items()}


def _drawn_mean(
    runs: Sequence[Matches], weights: FloatArray, generator: np.random.Generator
) -> dict[str, float]:
    """Mean metrics over trainings drawn with replacement; NaN where one is undefined."""
    chosen = generator.integers(0, len(runs), len(runs))
    unique, counts = np.unique(chosen, return_counts=True)
    metrics = [runs[index].metrics(weights) for index in unique]
    found = {}
    for field in fields(MaskMetrics):
        values = [getattr(one, field.name) for one in metrics]
        known = [np.nan if value is None else value for value in values]
        found[field.name] = float(np.average(known, weights=counts))
    return found


def _interval(values: Sequence[float], resamples: int) -> Interval | None:
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
