"""What the other masks of a class say of a mask: chairs are hard to draw, so this chair is, too.

Letters: N masks.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

PULL = 10.0
"""Masks of a class that count as much as all masks do."""
SURE = 0.01
"""Scores nearer to 0 and 1 than this would outweigh all others of their class."""
FloatArray = NDArray[np.float64]


def class_effects(scores: FloatArray, classes: Sequence[int]) -> FloatArray:
    """How much better the others of its class are scored than all others, for each mask.

    A mask itself does not count, so the only one of its class, and all masks where there is one
    class, get 0. The mean over a class is pulled to that over all, the more the fewer it is of.

    Args:
        scores: In [0, 1], shape (N,).
        classes: Of the masks, N of them.

    Returns:
        Log-odds, shape (N,).
    """
    if not len(scores):
        return np.zeros(0)
    odds = logit(scores.clip(SURE, 1 - SURE))
    _, own = np.unique(np.array(classes), return_inverse=True)
    counts, sums = np.bincount(own), np.bincount(own, weights=odds)
    others = counts[own] - 1
    usual = (odds.sum() - odds) / max(1, len(odds) - 1)
    beyond = (sums[own] - odds) - others * usual
    return np.asarray(beyond / (others + PULL))


def moved(share: float, effect: float) -> float:
    """A score, or a bound of its interval, in [0, 1], moved by log-odds."""
    return float(expit(logit(share) + effect))
