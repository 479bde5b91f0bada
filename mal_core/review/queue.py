"""Labels in the order in which looking at them pays most: by expected loss."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mal_core.data.pseudo_labels import COMPONENTS, INTERVAL, is_component, score_problem
from mal_core.formats.exports.labeled import Labeled, LabeledObject
from mal_core.review.reasons import reasons_for
from mal_core.types import HUMAN_SOURCE

SIZE_POWER, RARITY_POWER = 0.05, 0.05
"""How much an object twice as wide, or of a class half as common, counts more: 3.5 %."""
BOUNDS = (0.5, 2.0)
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Suspect:
    """A label to be looked at.

    Attributes:
        labeled: The object.
        loss: Expected loss: 1 - score, times what size and rarity of the class make of it.
        score: Expected IoU, in [0, 1].
        interval: Where the IoU probably lies; None: not known.
        reasons: Why it is suspected, in words.
        components: What the score was made from, by name.
    """

    labeled: LabeledObject
    loss: float
    score: float
    interval: tuple[float, float] | None
    reasons: tuple[str, ...]
    components: Mapping[str, float]


def expected_losses(scores: FloatArray, areas: FloatArray, classes: Sequence[int]) -> FloatArray:
    """What each mask is expected to cost: 1 - score, times size and rarity.

    A mask counts by the side of its box relative to the median side, and by how many objects the
    median class has for one of its own, both to the power of 0.05 and between 0.5 and 2: size and
    class decide between masks of about the same score, no more.

    Args:
        scores: Expected IoUs in [0, 1], shape (N,).
        areas: Of the boxes, px^2, shape (N,).
        classes: Category ids, N of them.

    Returns:
        At least 0, shape (N,).
    """
    if not len(scores):
        return np.zeros(0)
    sides = np.sqrt(np.maximum(areas, 1.0))
    counts = Counter(classes)
    numbers = np.array([counts[class_] for class_ in classes], dtype=np.float64)
    usual = float(np.median(list(counts.values())))
    size = ((sides / np.median(sides)) ** SIZE_POWER).clip(*BOUNDS)
    rarity = ((usual / numbers) ** RARITY_POWER).clip(*BOUNDS)
    return np.asarray((1 - scores) * size * rarity)


def review_queue(labeled: Labeled) -> list[Suspect]:
    """All labels that a person has not corrected yet, the largest expected loss first.

    Args:
        labeled: A file whose objects have `score`; one without counts as 0.
    """
    objects = [
        instance for instance in labeled.objects if instance.entry.get("source") != HUMAN_SOURCE
    ]
    scores = np.array([instance.score or 0.0 for instance in objects], dtype=np.float64).clip(0, 1)
    areas = np.array([box_area_of(instance.entry) for instance in objects], dtype=np.float64)
    losses = expected_losses(scores, areas, [instance.entry["category_id"] for instance in objects])
    order = sorted(range(len(objects)), key=lambda index: (-losses[index], objects[index].id))
    return [_suspect(objects[index], float(losses[index])) for index in order]


def box_area_of(entry: Mapping[str, Any]) -> float:
    """Area of an annotation's box, px^2."""
    return float(entry["bbox"][2]) * float(entry["bbox"][3])


def _suspect(instance: LabeledObject, loss: float) -> Suspect:
    interval, components = instance.entry.get(INTERVAL), components_of(instance.entry)
    return Suspect(
        labeled=instance,
        loss=loss,
        score=instance.score or 0.0,
        interval=_interval(interval),
        reasons=reasons_for(components),
        components=components,
    )


def components_of(entry: Mapping[str, Any]) -> dict[str, float]:
    """What the score of a label was made from, as far as it is numbers."""
    given = entry.get(COMPONENTS)
    if not isinstance(given, dict):
        return {}
    return {name: float(value) for name, value in given.items() if is_component(value)}


def _interval(given: object) -> tuple[float, float] | None:
    if isinstance(given, list) and len(given) == 2 and all(map(is_component, given)):
        return float(given[0]), float(given[1])
    return None


def score_problems(labeled: Labeled) -> list[str]:
    """Scores that are none."""
    found = (
        score_problem(instance.id, instance.entry["score"])
        for instance in labeled.objects
        if "score" in instance.entry
    )
    return [problem for problem in found if problem is not None]


def without_scores(labeled: Labeled) -> tuple[int, ...]:
    """Ids of labels that cannot be ordered or explained: no score, or nothing it was made from."""
    return tuple(
        instance.id
        for instance in labeled.objects
        if instance.entry.get("source") != HUMAN_SOURCE
        and (instance.score is None or not components_of(instance.entry))
    )
