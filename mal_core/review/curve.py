"""What correcting the worst masks is worth: mean IoU over the share that somebody corrects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mal_core.data.coco import parse_coco
from mal_core.errors import DatasetError
from mal_core.evaluation.agreement import measure_agreement
from mal_core.formats.exports.labeled import read_labeled
from mal_core.review.queue import box_area_of, components_of, expected_losses, review_queue
from mal_core.types import HUMAN_SOURCE

FloatArray = NDArray[np.float64]
SHARES = (0.05, 0.10, 0.20)
SECONDS_PER_MASK = 79.2
FEWEST = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class CurvePoint:
    """A share of the masks corrected.

    Attributes:
        share: Of all masks.
        corrected: How many that is.
        hours: That a person needs for them.
        ordered: Mean IoU when the first of an order are corrected.
        random: Mean IoU to be expected when as many random ones are.
        hours_saved: What random corrections would need more for the same mean IoU.
    """

    share: float
    corrected: int
    hours: float
    ordered: float
    random: float
    hours_saved: float


def review_curve(
    ious: FloatArray,
    order: Sequence[int],
    *,
    shares: Sequence[float] = SHARES,
    seconds_per_mask: float = SECONDS_PER_MASK,
) -> tuple[CurvePoint, ...]:
    """Mean IoU after correcting the first masks of an order; a corrected mask has IoU 1.

    Args:
        ious: With human masks, in [0, 1], shape (N,), N >= 1.
        order: All places of `ious`, those first that are corrected first.
        shares: Which parts of the masks are corrected.
        seconds_per_mask: What a person needs to draw one.
    """
    count, mean = len(ious), float(ious.mean())
    gains = np.concatenate([[0.0], np.cumsum(1 - ious[np.asarray(order, dtype=np.int64)])])
    points = []
    for share in shares:
        corrected = min(count, max(1, round(share * count)))
        gain = float(gains[corrected]) / count
        # Random corrections gain the same with every mask; a perfect file has nothing to gain.
        needed = count * gain / (1 - mean) if mean < 1 else float(corrected)
        points.append(
            CurvePoint(
                share=share,
                corrected=corrected,
                hours=corrected * seconds_per_mask / 3600,
                ordered=mean + gain,
                random=mean + corrected / count * (1 - mean),
                hours_saved=(needed - corrected) * seconds_per_mask / 3600,
            )
        )
    return tuple(points)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReviewCurves:
    """Curves of a labeled file.

    Attributes:
        objects: Masks with a human mask to compare with.
        mask_iou: Their mean IoU before anything is corrected.
        curves: By the name of the order, and points by share.
    """

    objects: int
    mask_iou: float
    curves: dict[str, tuple[CurvePoint, ...]]


def worth_of_review(
    labeled: Path, iou_of: Mapping[int, float], seconds_per_mask: float
) -> str | None:
    """What correcting the worst labels of a run would give, in a sentence.

    Args:
        labeled: Labels, sound.
        iou_of: IoU with the human mask, by annotation id.
        seconds_per_mask: What a person needs to draw one.

    Returns:
        None where fewer than 20 labels have a score and a human mask, or all have one score.
    """
    entries = [
        entry
        for entry in parse_coco(labeled)["annotations"]
        if entry["id"] in iou_of and "score" in entry and entry.get("source") != HUMAN_SOURCE
    ]
    scores = np.array([float(entry["score"]) for entry in entries])
    if len(entries) < FEWEST or not np.ptp(scores):
        return None
    areas = np.array([box_area_of(entry) for entry in entries])
    losses = expected_losses(scores, areas, [entry["category_id"] for entry in entries])
    ious = np.array([iou_of[entry["id"]] for entry in entries])
    order = np.argsort(-losses, kind="stable").tolist()
    points = review_curve(ious, order, seconds_per_mask=seconds_per_mask)
    steps = ", ".join(
        f"{100 * point.share:.0f} % ({point.corrected} masks, {point.hours:.1f} h) "
        f"to {point.ordered:.3f} (at random {point.random:.3f})"
        for point in points
    )
    return (
        f"Redrawing the labels with the largest expected loss (`mal review`) would raise their "
        f"mean mask IoU from {ious.mean():.3f}: {steps}."
    )


OURS, SCORE, BELIEF, BEST = "expected loss", "score", "mean probability", "true IoU"


def curves_of(labels: Path, human: Path, *, seconds_per_mask: float) -> ReviewCurves:
    """Curves by expected loss, by score, by mean probability where it is known, and the best.

    Args:
        labels: Labels with scores.
        human: COCO file with human masks of the same annotation ids.
        seconds_per_mask: What a person needs to draw one.

    Raises:
        DatasetError: The files are not of the same objects, or none has both masks.
    """
    comparison = measure_agreement(labels, human)
    iou_of = {
        compared.annotation_id: compared.mask_iou
        for compared in comparison.objects
        if compared.labeled
    }
    queue = [
        suspect for suspect in review_queue(read_labeled(labels)) if suspect.labeled.id in iou_of
    ]
    if not queue:
        raise DatasetError(labels, [f"no label with a human mask in {human} is left to review."])
    ious = np.array([iou_of[suspect.labeled.id] for suspect in queue])
    beliefs = [components_of(suspect.labeled.entry).get("belief") for suspect in queue]
    keys: dict[str, Sequence[float]] = {
        OURS: range(len(queue)),
        SCORE: [suspect.score for suspect in queue],
        BEST: ious.tolist(),
    }
    known = [value for value in beliefs if value is not None]
    if len(known) == len(queue):
        keys[BELIEF] = known
    return ReviewCurves(
        objects=len(queue),
        mask_iou=float(ious.mean()),
        curves={
            name: review_curve(
                ious,
                np.argsort(np.asarray(values), kind="stable").tolist(),
                seconds_per_mask=seconds_per_mask,
            )
            for name, values in keys.items()
        },
    )
