"""From the components of a mask to the IoU that is to be expected, with an interval.

A logistic curve over standardized components, fitted to shares: few numbers, each of which says
which way its component pulls, and no cliff where a photo is unlike those it was fitted to.

Letters: N masks, K components.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Row = Mapping[str, float]

REACH = 3.0
"""A component further from the mean than so many deviations counts as that far."""
STEPS = 30
CLOSE = 1e-8
HALVINGS = 20
LARGEST_STEP = 2.0
BIAS_PULL = 0.01
NO_SPREAD = 1e-4
FLOOR = 0.1
"""Least spread of an IoU, so that a score near 0 or 1 does not promise an interval of no width."""
COVERAGE = 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityModel:
    """Weights of the components.

    Attributes:
        names: Components it knows, K of them; others say nothing to it.
        means, spreads: What they are standardized by.
        weights: Of the standardized components; all 0 is the mean IoU for every mask.
        bias: Log-odds of the IoU of an average mask.
        width: Half the interval that holds `COVERAGE` of the masks, in spreads of an IoU
            (see `QualityModel.interval`).
        origin: What it was fitted to, for people.
    """

    names: tuple[str, ...]
    means: tuple[float, ...]
    spreads: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    width: float
    origin: str

    def predict(self, rows: Sequence[Row]) -> FloatArray:
        """Expected IoU of each mask, in [0, 1], shape (N,)."""
        return expit(self.design(rows) @ self.theta)

    def interval(self, score: float) -> tuple[float, float]:
        """Where the IoU of a mask with this score lies, in [0, 1]."""
        half = self.width * float(spread(np.array(score)))
        return max(0.0, score - half), min(1.0, score + half)

    def design(self, rows: Sequence[Row]) -> FloatArray:
        """Standardized components and a column of ones, shape (N, K + 1).

        A missing component is an average one.
        """
        with np.errstate(over="ignore"):  # a component may be anything that a file says
            values = (table(rows, self.names) - np.array(self.means)) / np.array(self.spreads)
        known = np.nan_to_num(values, nan=0.0).clip(-REACH, REACH)
        return np.column_stack([known, np.ones(len(rows))])

    @property
    def theta(self) -> FloatArray:
        """Weights and bias, shape (K + 1,)."""
        return np.array([*self.weights, self.bias])

    def refitted(self, theta: FloatArray, width: float, origin: str) -> "QualityModel":
        """The same components with other weights and bias, shape (K + 1,)."""
        weights = tuple(round(float(value), 6) for value in theta[:-1])
        bias = round(float(theta[-1]), 6)
        return replace(self, weights=weights, bias=bias, width=round(width, 6), origin=origin)


def unfitted(rows: Sequence[Row], names: Sequence[str]) -> QualityModel:
    """A model without an opinion: components standardized by these rows, all weights 0."""
    values = table(rows, names)
    known = np.isfinite(values)
    count = np.maximum(known.sum(0), 1)
    means = np.where(known, values, 0.0).sum(0) / count
    spreads = np.sqrt(np.where(known, np.square(values - means), 0.0).sum(0) / count)
    return QualityModel(
        names=tuple(names),
        means=tuple(round(float(value), 6) for value in means),
        spreads=tuple(round(float(value), 6) if value > NO_SPREAD else 1.0 for value in spreads),
        weights=(0.0,) * len(names),
        bias=0.0,
        width=1.0 / FLOOR,
        origin="",
    )


def table(rows: Sequence[Row], names: Sequence[str]) -> FloatArray:
    """Components as an array, shape (N, K); NaN where a mask lacks one."""
    values = [[float(row.get(name, math.nan)) for name in names] for row in rows]
    return np.array(values, dtype=np.float64).reshape(len(rows), len(names))


def spread(score: FloatArray) -> FloatArray:
    """How far IoUs scatter around a score: most in the middle, least at the ends.

    Args:
        score: Of any shape.

    Returns:
        Of the same shape.
    """
    return np.asarray(FLOOR + np.sqrt(np.clip(score * (1 - score), 0, 1)))


def fit(
    design: FloatArray,
    shares: FloatArray,
    *,
    prior: FloatArray,
    ridge: float,
    weights: FloatArray | None = None,
) -> FloatArray:
    """Fit the curve by Newton's method on the cross-entropy with shares.

    Args:
        design: As `QualityModel.design` gives it, shape (N, K + 1).
        shares: IoUs in [0, 1], shape (N,).
        prior: Weights and bias where the data says nothing, shape (K + 1,).
        ridge: How many masks' worth of pull each weight has to its prior; the bias has a
            hundredth of it.
        weights: Of the masks, shape (N,); None: all count alike.

    Returns:
        Weights and bias, shape (K + 1,).
    """
    count = np.ones(len(design)) if weights is None else weights
    pull = np.full(design.shape[1], ridge)
    pull[-1] = ridge * BIAS_PULL
    theta = prior.copy()

    def loss(at: FloatArray) -> float:
        logits = design @ at
        fits = count @ (np.logaddexp(0, logits) - shares * logits)
        return float(fits + pull @ np.square(at - prior) / 2)

    for _ in range(STEPS):
        guess = expit(design @ theta)
        slope = design.T @ (count * (shares - guess)) - pull * (theta - prior)
        curve = (design * (count * guess * (1 - guess))[:, None]).T @ design + np.diag(pull)
        step = np.linalg.solve(curve, slope).clip(-LARGEST_STEP, LARGEST_STEP)
        # Where the curve is flat, a full step may lead away: to the other flat end, and back.
        so_far = loss(theta)
        for _ in range(HALVINGS):
            if loss(theta + step) <= so_far:
                break
            step = step / 2
        theta += step
        if float(np.abs(step).max()) < CLOSE:
            break
    return theta


def conformal_width(scores: FloatArray, ious: FloatArray, coverage: float = COVERAGE) -> float:
    """Half width, in spreads, that holds a share of masks the fit has not seen.

    Args:
        scores: Of these masks, shape (N,).
        ious: What they should have been, shape (N,).
        coverage: The share.

    Source: split conformal prediction (Papadopoulos et al., 2002) with scaled residuals.
    """
    residuals = np.sort(np.abs(ious - scores) / spread(scores))
    rank = math.ceil((len(residuals) + 1) * coverage)
    return float(residuals[rank - 1]) if rank <= len(residuals) else 1.0 / FLOOR


def expit(values: FloatArray) -> FloatArray:
    """Probabilities of log-odds of any shape, float64, shaped like them."""
    return np.asarray(1 / (1 + np.exp(-values.clip(-30, 30))))
