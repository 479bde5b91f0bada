"""The score of a mask: the IoU with a careful human's mask that is to be expected.

Letters: N masks, H W px of the image, h w px of a box.
"""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mal_core.errors import ArgumentError
from mal_core.geometry.arrays import checked_boxes, checked_image, checked_masks
from mal_core.geometry.boxes import pixel_box
from mal_core.processes.records import read_record
from mal_core.quality.beliefs import Beliefs
from mal_core.quality.classmates import class_effects, moved
from mal_core.quality.evidence import DIGITS, components_of
from mal_core.quality.familiarity import USUAL
from mal_core.quality.patch import Mask
from mal_core.quality.regression import QualityModel, Row

Kind = Literal["labels", "masks"]
"""Masks of a labeler whose probabilities are known, or masks alone."""
BESIDE = ("belief", "unlike")
"""Components that stand in the labels but in no score: what other tools call one, and drift."""
AGREEMENT, OPINION = "agreement", "opinion"
"""Of a mask from elsewhere: its IoU with the one that a labeler draws, and that one's score."""
CLASSMATES = "classmates"
"""How much better the others of its class are scored than all, in log-odds; added to its own."""
FEWEST_MASKS = 100
"""Of fewer a class says next to nothing, and each keeps the score it has by itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """What is to be expected of a mask.

    Attributes:
        score: Expected IoU, in [0, 1].
        interval: Where the IoU lies with 90 % of the masks that the model was fitted to.
        components: What the score was made from, by name, and the mean probability.
    """

    score: float
    interval: tuple[float, float]
    components: Mapping[str, float]


def kind_of(components: Row) -> Kind:
    """Whether a labeler's probabilities were known when these were made."""
    return "labels" if "doubt" in components else "masks"


@functools.cache
def default_model(kind: Kind) -> QualityModel:
    """The model that comes with the library, for labels of no model of their own."""
    with resources.as_file(resources.files("mal_core.quality") / f"{kind}.json") as path:
        return read_record(QualityModel, path)


def drift_line(rows: Iterable[Row]) -> str | None:
    """How many boxes look unlike the training crops, for people; None: not known.

    Args:
        rows: Components of the labels.
    """
    known = [row["unlike"] for row in rows if "unlike" in row]
    if not known:
        return None
    share = sum(value > 1 for value in known) / len(known)
    return (
        f"{share:.1%} of {len(known)} boxes look unlike the training crops "
        f"({1 - USUAL:.0%} of these do)"
    )


def quality_of(components: Row, model: QualityModel) -> Quality:
    """The score that a model gives to these components."""
    score = round(_second_opinion(float(model.predict([components])[0]), components), DIGITS)
    low, high = model.interval(score)
    interval = round(low, DIGITS), round(high, DIGITS)
    named = (*model.names, *BESIDE, AGREEMENT, OPINION)
    used = {name: components[name] for name in named if name in components}
    alone = Quality(score=score, interval=interval, components=used)
    return _in_class(alone, components[CLASSMATES]) if CLASSMATES in components else alone


def with_classmates(found: Sequence[Quality], classes: Sequence[int]) -> list[Quality]:
    """Scores of all masks of a file, once each has heard how the others of its class are scored.

    Args:
        found: What is to be expected of each mask by itself; fewer than 100 stay as they are.
        classes: Of the masks, as many.
    """
    if len(found) < FEWEST_MASKS:
        return list(found)
    scores = np.array([quality.score for quality in found], dtype=np.float64)
    effects = class_effects(scores, classes).round(DIGITS).tolist()
    return [
        _in_class(quality, effect) if effect else quality
        for quality, effect in zip(found, effects, strict=True)
    ]


def _in_class(alone: Quality, effect: float) -> Quality:
    low, high = alone.interval
    return Quality(
        score=round(moved(alone.score, effect), DIGITS),
        interval=(round(moved(low, effect), DIGITS), round(moved(high, effect), DIGITS)),
        components={**alone.components, CLASSMATES: effect},
    )


def without_opinion(components: Row) -> dict[str, float]:
    """What speaks for a mask itself, but for what a labeler said of it and others of its class."""
    others = (AGREEMENT, OPINION, CLASSMATES)
    return {name: value for name, value in components.items() if name not in others}


def _second_opinion(score: float, components: Row) -> float:
    """The score of a mask once a labeler has drawn its own for the same box.

    If the labeler is right, what agrees with it by an IoU of a is worth about a times as much; how
    far it can be believed, its own score says. Its own mask has its own score.
    """
    if AGREEMENT not in components:
        return score
    opinion = components[OPINION]
    if components[AGREEMENT] == 1:  # also where it gave pixels to others since it was scored
        return opinion
    trust = math.sqrt(opinion)
    return trust * opinion * components[AGREEMENT] + (1 - trust) * score


def score_masks(
    image: NDArray[np.uint8],
    boxes_xyxy: NDArray[Any],
    masks: Sequence[Mask] | NDArray[Any],
    *,
    beliefs: Sequence[Beliefs | None] | None = None,
    model: QualityModel | None = None,
) -> list[Quality]:
    """Scores of masks, whoever drew them.

    Args:
        image: RGB, uint8, shape (H, W, 3).
        boxes_xyxy: The box that each mask was drawn for, as `Labeler.label` takes them, px,
            shape (N, 4).
        masks: Full-image masks, bool or 0 and 1 (or 255), shape (N, H, W).
        beliefs: What a labeler thinks of the pixels of each box, where one was asked, N of them.
        model: Maps components to a score; None: the library's own.

    Returns:
        One per mask, in order. A mask without a pixel in its box, or of a box without size, has
        score 0.

    Raises:
        ArgumentError: A shape or a type is another, a box is outside of the image, or there are
            not as many masks as boxes.
    """
    pixels = checked_image(image)
    height, width = pixels.shape[:2]
    boxes = checked_boxes(boxes_xyxy, width, height)
    given = checked_masks(masks, len(boxes), width, height)
    if beliefs is not None and len(beliefs) != len(boxes):
        message = f"beliefs holds {len(beliefs)} for {len(boxes)} boxes; wanted one for each."
        raise ArgumentError(message)
    own = default_model("labels" if beliefs is not None else "masks")
    scored = []
    for index, box in enumerate(boxes):
        x0, y0, x1, y1 = pixel_box(box, height, width)
        box_mask = given[index][y0:y1, x0:x1]
        if not box_mask.any():
            scored.append(Quality(score=0.0, interval=(0.0, 0.0), components={}))
            continue
        others = np.delete(boxes, index, axis=0)
        belief = None if beliefs is None else beliefs[index]
        found = components_of(pixels, box, box_mask, others, belief)
        scored.append(quality_of(found, model or own))
    return scored
