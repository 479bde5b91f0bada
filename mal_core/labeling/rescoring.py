"""Scores of labels once all of a file are drawn: by a model fitted to them, and by class."""

import dataclasses
from collections.abc import Sequence

from mal_core.quality.regression import QualityModel
from mal_core.quality.score import Quality, quality_of, with_classmates
from mal_core.types import BoxDataset, PseudoLabel


def by_model(labels: Sequence[PseudoLabel], model: QualityModel) -> list[PseudoLabel]:
    """The labels with the scores that a model gives to their components."""
    return [_scored(label, quality_of(label.components, model)) for label in labels]


def by_class(dataset: BoxDataset, labels: Sequence[PseudoLabel]) -> list[PseudoLabel]:
    """The labels with scores that have heard how the others of their class are scored.

    Those whose score is their labeler's own confidence (no components) stay as they are.
    """
    class_of = {box.annotation_id: box.category_id for box in dataset.boxes}
    explained = [label for label in labels if label.components and label.interval is not None]
    alone = [
        Quality(score=label.score, interval=label.interval, components=label.components)
        for label in explained
        if label.interval is not None
    ]
    found = with_classmates(alone, [class_of[label.annotation_id] for label in explained])
    new = {
        label.annotation_id: _scored(label, quality)
        for label, quality in zip(explained, found, strict=True)
    }
    return [new.get(label.annotation_id, label) for label in labels]


def _scored(label: PseudoLabel, quality: Quality) -> PseudoLabel:
    return dataclasses.replace(
        label,
        score=quality.score,
        interval=quality.interval,
        components=quality.components,
    )
