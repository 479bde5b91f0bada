"""Who draws best, judged without human masks: estimates, their intervals, how sure the first is.

A score that looks at colors favors whoever draws along colors. How much it favors each labeler is
measured on composites, whose masks are known, and taken off its scores on the user's own objects.
Composites are no photos, so how much of that holds for photos is not known: every resample takes
another share of it, and the estimate the middle.

Letters: K labelers, N objects, C composites, R resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

RESAMPLES = 2000
SEED = 11
COVERAGE = 0.95
CLEAR, LIKELY = 0.95, 0.8
"""Shares of resamples in which the first is best, from which on words say so."""
SAME = 1e-9
"""Of mean IoU: less is how numbers were added up, so those labelers share the win."""
CLOSE = 0.02
"""Of mean IoU: labelers that near to the best are as good for most purposes."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was measured of K labelers.

    Attributes:
        scores: Expected IoU of each mask on the user's objects, shape (N, K).
        photos: Photo of each object, for resamples of photos, shape (N,).
        composite_scores: The same of composites, shape (C, K).
        composite_ious: True IoU there, shape (C, K).
    """

    scores: FloatArray
    photos: NDArray[np.int64]
    composite_scores: FloatArray
    composite_ious: FloatArray

    def estimate(self) -> FloatArray:
        """Expected mean IoU of each labeler, in [0, 1], shape (K,)."""
        weight, composites = np.ones(len(self.scores)), np.ones(len(self.composite_scores))
        return np.asarray(self._estimates(weight[None], composites[None], np.array([0.5]))[0])

    def resampled(self) -> FloatArray:
        """The same in resamples of photos and composites, shape (R, K)."""
        generator = np.random.default_rng(SEED)
        names, place = np.unique(self.photos, return_inverse=True)
        counts = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
        size = max(len(self.composite_scores), 1)
        composites = generator.multinomial(size, np.full(size, 1 / size), RESAMPLES)
        composites = composites[:, : len(self.composite_scores)]
        shares = generator.uniform(0, 1, RESAMPLES)
        return self._estimates(counts[:, place], composites, shares)

    def _estimates(
        self, objects: NDArray[Any], composites: NDArray[Any], shares: FloatArray
    ) -> FloatArray:
        """Under weights of objects (R, N) and composites (R, C), and shares (R,); (R, K)."""
        found = objects @ self.scores / objects.sum(1, keepdims=True)
        if composites.shape[1]:
            bias = self.composite_ious - self.composite_scores
            mean = composites @ bias / composites.sum(1, keepdims=True)
            found = found + shares[:, None] * mean
        return np.asarray(found.clip(0, 1))


@dataclass(frozen=True, kw_only=True)
class Place:
    """A labeler in the ranking.

    Attributes:
        expected: Mean IoU that is expected of it.
        interval: 95 % of the resamples.
        best_share: Share of the resamples in which it is the best; who ties shares the win.
    """

    name: str
    expected: float
    interval: tuple[float, float]
    best_share: float


@dataclass(frozen=True, kw_only=True)
class Truth:
    """How right the ranking was, by human masks.

    Attributes:
        ious: Mean IoU of each labeler with them, by name.
        best: The labeler that is best by them; of several alike, the recommended one.
        lost: Mean IoU that whoever follows the recommendation loses.
        order: Rank correlation (Spearman) of the two rankings; None of fewer than three labelers,
            and where all are alike.
        objects: How many of the sample have a human mask.
    """

    ious: Mapping[str, float]
    best: str
    lost: float
    order: float | None
    objects: int

    @property
    def tied(self) -> tuple[str, ...]:
        """All labelers that are as good as the best."""
        return tuple(name for name, iou in self.ious.items() if iou == self.ious[self.best])

    @property
    def verdict(self) -> str:
        """Who is best, and what following the recommendation costs, in words."""
        alike = len(self.tied) > 1
        best = f"{' and '.join(self.tied)} are alike with {self.ious[self.best]:.3f}, a tie"
        if self.lost:
            right = f"following the recommendation loses {self.lost:.3f} of mean IoU"
        else:
            right = "the recommendation is one of them" if alike else "the recommendation is right"
        return f"{best if alike else f'{self.best} is best'}: {right}"


def ranked(names: Sequence[str], evidence: Evidence) -> tuple[Place, ...]:
    """The labelers, the best first."""
    expected, resampled = evidence.estimate(), evidence.resampled()
    ties = resampled >= resampled.max(1, keepdims=True) - SAME
    winners = (ties / ties.sum(1, keepdims=True)).mean(0)
    tail = 100 * (1 - COVERAGE) / 2
    low, high = np.percentile(resampled, [tail, 100 - tail], axis=0)
    places = [
        Place(
            name=name,
            expected=round(float(expected[k]), 4),
            interval=(round(float(low[k]), 4), round(float(high[k]), 4)),
            best_share=round(float(winners[k]), 4),
        )
        for k, name in enumerate(names)
    ]
    return tuple(sorted(places, key=lambda place: -place.expected))


def recommendation(
    places: Sequence[Place], seconds: Mapping[str, float], *, more: Sequence[str] = ()
) -> str:
    """What to take, how sure that is, and what is nearly as good for less, in a sentence or two.

    Args:
        places: The ranking, the best first.
        seconds: Of each labeler for 1,000 boxes.
        more: What would say more, such as "label more boxes".
    """
    first = places[0]
    alike = [place for place in places if _measured(place) == _measured(first)]
    others = [place for place in places if place not in alike]
    called = " or ".join(place.name for place in alike)
    if not others:
        return f"Take {called}: they score alike on all boxes, which more boxes would not change."
    if len(alike) > 1:
        called += " (alike on all boxes)"
    share = sum(place.best_share for place in alike)
    sure = f"best in {100 * share:.0f} % of the resamples"
    if share >= CLEAR:
        text = f"Take {called}: it is clearly the best here ({sure})."
    elif share >= LIKELY:
        text = f"Take {called}: it is probably the best here ({sure})."
    else:
        rivals = [place.name for place in others if place.best_share >= 1 - LIKELY] or [
            others[0].name
        ]
        text = (
            f"Take {called}, but the sample does not tell it from {' and '.join(rivals)} ({sure})."
        )
        if more:
            advice = ", or ".join(more)
            text += f" {advice[0].upper()}{advice[1:]}."
    near = [place for place in places[1:] if first.expected - place.expected <= CLOSE]
    cheap = [place for place in near if 2 * seconds[place.name] < seconds[first.name]]
    if cheap:
        least = min(cheap, key=lambda place: seconds[place.name])
        lost = first.expected - least.expected
        text += (
            f" {least.name} is expected to lose {lost:.3f} and takes {seconds[least.name]:.0f} s "
            f"for 1,000 boxes in place of {seconds[first.name]:.0f} s."
        )
    return text


def _measured(place: Place) -> tuple[float, tuple[float, float], float]:
    """What is alike in labelers that score alike on every object and composite."""
    return place.expected, place.interval, place.best_share


def truth_of(places: Sequence[Place], ious: Mapping[str, float], objects: int) -> Truth:
    """The ranking beside human masks.

    Args:
        places: The ranking, the best first.
        ious: Mean IoU of each labeler with human masks, by name.
        objects: How many there were.
    """
    told = {name: round(value, 4) for name, value in ious.items()}
    # `max` takes the first of equals: the recommended labeler is no worse than one that ties it.
    best = max((place.name for place in places), key=lambda name: told[name])
    own = np.array([told[place.name] for place in places])
    order = None
    if len(places) > 2 and len({*own.tolist()}) > 1:
        ranks = [(own < value).sum() + ((own == value).sum() - 1) / 2 for value in own]
        order = round(float(np.corrcoef(ranks, np.arange(len(places))[::-1])[0, 1]), 4)
    return Truth(
        ious=told,
        best=best,
        lost=round(told[best] - told[places[0].name], 4),
        order=order,
        objects=objects,
    )
