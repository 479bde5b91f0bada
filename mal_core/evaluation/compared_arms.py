"""Both arms of one segmenter, measured: means over seeds, intervals, classes."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mal_core.data.coco import parse_coco
from mal_core.data.results import read_results
from mal_core.evaluation.average_precision import IOU_50, IOU_75, Matches
from mal_core.evaluation.intervals import Interval, retention_intervals
from mal_core.evaluation.matching import match_results
from mal_core.evaluation.retention import ClassRetention, SegmenterResult
from mal_core.types import MaskMetrics

CURVES = {"0.50": IOU_50, "0.75": IOU_75}
"""Curves that a report shows: IoU threshold and its place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunMatches:
    """Predictions of one training, matched by masks, by outlines and by boxes."""

    masks: Matches
    outlines: Matches
    boxes: Matches

    def metrics(self) -> MaskMetrics:
        """All numbers of this training."""
        return replace(
            self.masks.metrics(),
            ap_boundary=self.outlines.metrics().ap,
            ap_box=self.boxes.metrics().ap,
        )


def match_run(annotations: Path, predictions: Path) -> RunMatches:
    """Match one training's predictions with the human masks of the validation file.

    Raises:
        DatasetError: Predictions without masks or boxes.
    """
    truth, results = parse_coco(annotations), read_results(predictions, ["segmentation", "bbox"])
    return RunMatches(
        masks=match_results(truth, results, "segm"),
        outlines=match_results(truth, results, "boundary"),
        boxes=match_results(truth, results, "bbox"),
    )


def compare_arms(
    name: str, seeds: Sequence[int], human: Sequence[RunMatches], pseudo: Sequence[RunMatches]
) -> SegmenterResult:
    """What one segmenter makes of human masks and of pseudo-labels.

    Args:
        name: The segmenter.
        seeds: Of its trainings.
        human, pseudo: One per seed, all on the same validation images; `human` is empty
            where there are no human masks to train on.
    """
    runs = {"human": _metrics(human), "pseudo": _metrics(pseudo)}
    return SegmenterResult(
        name=name,
        human=mean_metrics(runs["human"]) if human else None,
        pseudo=mean_metrics(runs["pseudo"]),
        seeds=tuple(seeds),
        runs=runs,
        intervals=_intervals(human, pseudo) if human else {},
        classes=_classes([run.masks for run in human], [run.masks for run in pseudo]),
        human_source="trained" if human else "none",
        precision={
            arm: {iou: _mean_curve(of, place) for iou, place in CURVES.items()}
            for arm, of in (("human", human), ("pseudo", pseudo))
            if of
        },
    )


def with_published(result: SegmenterResult, ap: float) -> SegmenterResult:
    """The result with a published AP in place of a training on human masks."""
    names = [item.name for item in dataclasses.fields(MaskMetrics)]
    human = MaskMetrics(**{**dict.fromkeys(names), "ap": ap})
    return replace(result, human=human, human_source="published")


def _mean_curve(runs: Sequence[RunMatches], threshold: int) -> tuple[float, ...]:
    curves = [run.masks.curve(threshold) for run in runs]
    return tuple(sum(values) / len(values) for values in zip(*curves, strict=True))


def _intervals(
    human: Sequence[RunMatches], pseudo: Sequence[RunMatches]
) -> dict[str, Interval | None]:
    found = retention_intervals([run.masks for run in human], [run.masks for run in pseudo])
    for field, kind in (("ap_boundary", "outlines"), ("ap_box", "boxes")):
        arms = ([getattr(run, kind) for run in arm] for arm in (human, pseudo))
        found[field] = retention_intervals(*arms, only_ap=True)["ap"]
    return found


def _metrics(runs: Sequence[RunMatches]) -> tuple[MaskMetrics, ...]:
    return tuple(run.metrics() for run in runs)


def mean_metrics(runs: Sequence[MaskMetrics]) -> MaskMetrics:
    """Field by field; None where a run has no value."""
    values = {
        field.name: [getattr(run, field.name) for run in runs]
        for field in dataclasses.fields(MaskMetrics)
    }
    return MaskMetrics(
        **{
            name: None if None in known else sum(known) / len(known)
            for name, known in values.items()
        }
    )


def _classes(human: Sequence[Matches], pseudo: Sequence[Matches]) -> tuple[ClassRetention, ...]:
    ours, theirs = _mean_per_class(pseudo), _mean_per_class(human)
    return tuple(
        ClassRetention(name=name, human=theirs.get(name), pseudo=value)
        for name, value in ours.items()
        if value is not None
    )


def _mean_per_class(runs: Sequence[Matches]) -> dict[str, float | None]:
    tables = [run.per_class() for run in runs]
    names = tables[0] if tables else {}
    means: dict[str, float | None] = {}
    for name in names:
        known = [table[name] for table in tables]
        defined = [value for value in known if value is not None]
        means[name] = sum(defined) / len(known) if len(defined) == len(known) else None
    return means
