"""From masks of known IoU to a model of quality that suits the user's own masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mal_core.quality.patch import Mask
from mal_core.quality.regression import (
    FloatArray,
    QualityModel,
    Row,
    conformal_width,
    expit,
    fit,
    unfitted,
)

FOLDS = 5
RIDGE = 10.0
PRIOR_RIDGE = 300.0
"""How many trials the weights that come with the library outweigh: those of one data set are
few, and composites only resemble photos."""
LEVEL_KEPT = 0.5
"""How much of the library's mean score stays: composites tell which masks are better than others,
and less well how good all of them are."""
LARGEST_SHIFT = 10.0
STEEPNESS, PIVOT = 1.5, 0.65
"""How much further from the pivot a score is than a fit to composites has it: such fits are too
flat for photos of any of our data sets."""
ODDS = (0.2, 5.0)
"""How much less or more a trial may count than an average one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A mask of known IoU."""

    components: Row
    iou: float

    @classmethod
    def of(cls, mask: Mask, known: Mask, components: Row) -> "Trial":
        """A mask beside the known one.

        Args:
            mask: Shape (h, w).
            known: Shape (h, w).
            components: What speaks for and against the mask.
        """
        union = int(np.count_nonzero(mask | known))
        iou = int(np.count_nonzero(mask & known)) / union if union else 0.0
        return cls(components=components, iou=iou)


def fit_model(trials: Sequence[Trial], own: Sequence[Row], *, prior: QualityModel) -> QualityModel:
    """Fit to trials, of which those count most that look like the user's own masks.

    Composites are easier or harder than the photos they were made from. Both are described by
    the same components, so a curve that tells them apart says how much each trial should count.

    Args:
        trials: Masks of known IoU.
        own: Components of masks that will be scored; their IoU is not known.
        prior: Its weights stay where the trials say nothing.
    """
    design = prior.design([trial.components for trial in trials])
    ious = np.array([trial.iou for trial in trials])
    weights = likeness(design, prior.design(own))
    theta, unseen = fit_and_hold_out(design, ious, prior.theta, weights)
    theta[-1] += LEVEL_KEPT * _shift_to(prior.theta, theta, prior.design(own))
    return prior.refitted(theta, conformal_width(unseen, ious), f"{len(trials)} masks of known IoU")


def _shift_to(wanted: FloatArray, theta: FloatArray, design: FloatArray) -> float:
    """What the bias of a fit lacks to the mean score that other weights give the same masks.

    Args:
        wanted: The other weights and bias, shape (K + 1,).
        theta: Those of the fit, shape (K + 1,).
        design: Of the masks, shape (N, K + 1).
    """
    from scipy.optimize import brentq  # costs every process that fits nothing, too

    if not len(design):
        return 0.0
    level, logits = expit(design @ wanted).mean(), design @ theta

    def lack(shift: float) -> float:
        return float(expit(logits + shift).mean() - level)

    return float(brentq(lack, -LARGEST_SHIFT, LARGEST_SHIFT))


def fit_library(trials: Sequence[Trial], names: Sequence[str], origin: str) -> QualityModel:
    """A model to start from, of masks of known IoU of several data sets.

    Args:
        trials: Masks of known IoU.
        names: Components that it shall know.
        origin: What the trials are, for people.
    """
    rows = [trial.components for trial in trials]
    blank = unfitted(rows, names)
    ious = np.array([trial.iou for trial in trials])
    design = blank.design(rows)
    theta, unseen = fit_and_hold_out(design, ious, blank.theta, ridge=RIDGE)
    theta *= STEEPNESS
    theta[-1] += (1 - STEEPNESS) * np.log(PIVOT / (1 - PIVOT))
    return blank.refitted(theta, conformal_width(unseen, ious), origin)


def fit_and_hold_out(
    design: FloatArray,
    ious: FloatArray,
    prior: FloatArray,
    weights: FloatArray | None = None,
    *,
    ridge: float = PRIOR_RIDGE,
) -> tuple[FloatArray, FloatArray]:
    """Fit to all masks, and to all but some of them in turn.

    Args:
        design: As `QualityModel.design` gives it, shape (N, K + 1).
        ious: Known IoUs, shape (N,).
        prior: Weights and bias where the data says nothing, shape (K + 1,).
        weights: Of the masks, shape (N,).
        ridge: How many masks' worth of pull each weight has to the prior.

    Returns:
        Weights and bias of all, shape (K + 1,); the score of each mask by a fit that has not
        seen it, shape (N,).
    """
    count = np.ones(len(ious)) if weights is None else weights
    unseen = np.zeros(len(ious))
    for fold in range(FOLDS):
        held = np.arange(len(ious)) % FOLDS == fold
        part = fit(design[~held], ious[~held], prior=prior, ridge=ridge, weights=count[~held])
        unseen[held] = expit(design[held] @ part)
    return fit(design, ious, prior=prior, ridge=ridge, weights=count), unseen


def likeness(design: FloatArray, own: FloatArray) -> FloatArray:
    """How much more common each row is among the user's own masks.

    Args:
        design: Rows of known IoU, shape (N, K + 1).
        own: Rows of the user's masks, shape (M, K + 1).

    Returns:
        Weights of mean 1, shape (N,).
    """
    both = np.concatenate([design, own])
    is_own = np.concatenate([np.zeros(len(design)), np.ones(len(own))])
    nothing = np.zeros(design.shape[1])
    theta = fit(both, is_own, prior=nothing, ridge=RIDGE)
    odds = np.exp((design @ theta).clip(-10, 10)) * len(design) / max(len(own), 1)
    odds = odds.clip(*ODDS)
    return np.asarray(odds / odds.mean())
