"""Retention: how much of the accuracy of human masks pseudo-labels keep (spec section 7).

`retention.json`, all AP in [0, 1], `null` where undefined:

    segmenters.NAME.human      AP AP50 AP75 APs APm APl, APbnd (boundary AP), APbox, and LVIS's
                               APr APc APf, of the arm trained on human masks, or null
    segmenters.NAME.pseudo     the same of the arm trained on pseudo-labels
    segmenters.NAME.retention  pseudo / human for each of them
    segmenters.NAME.interval   [low, high] of each rate in 95 % of resamples (`intervals`)
    segmenters.NAME.verdict    what they allow to say
    segmenters.NAME.human_source   "trained" or "published": then the recipe's published AP stands
                               in for a training on human masks; "none" without either
    segmenters.NAME.seeds      of the trainings; human and pseudo are means over them
    segmenters.NAME.runs       human, pseudo: the numbers of each seed
    segmenters.NAME.classes    per class: human, pseudo (AP), retention
    segmenters.NAME.reach      objects of the validation file, most_objects on one image, how many
                               are unreachable; detections kept per image, and those that AP
                               counted and usually counts (mal_core.data.crowding)
    segmenters.NAME.precision  by arm and IoU ("0.50", "0.75"): precision at recall 0, 0.01, ... 1,
                               mean over classes and seeds
    second_ruler               file, and segmenters as above by a second annotation file; or null
    label_quality              mask_iou, box_fill, ellipse (all small medium large), counts; or null
    label_scores               how many labels have a score in [0, 0.1), [0.1, 0.2), ... [0.9, 1]
    accounting                 boxes, masks, crowds, skipped (by reason)
    cost                       stages: hours, devices, device of each; annotation: masks,
                               seconds_per_mask, hours_saved; or null
    context                    what was run, as text
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mal_core.data.crowding import Reach
from mal_core.evaluation.costs import Cost, CostFile
from mal_core.evaluation.intervals import Interval, verdict
from mal_core.processes.records import from_json, to_json
from mal_core.types import LabelQuality, MaskMetrics, SizeMeans

METRICS = {
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap_small": "APs",
    "ap_medium": "APm",
    "ap_large": "APl",
    "ap_boundary": "APbnd",
    "ap_box": "APbox",
    "ap_rare": "APr",
    "ap_common": "APc",
    "ap_frequent": "APf",
}
"""Field of MaskMetrics -> its name in files and tables."""
QUALITY_ROWS = {
    "mask_iou": "pseudo-labels",
    "ellipse": "inscribed ellipses",
    "box_fill": "filled boxes",
}


def retention_rate(pseudo: float | None, human: float | None) -> float | None:
    """Divide pseudo by human; None when either is undefined or there is nothing to retain."""
    if pseudo is None or human is None or human <= 0:
        return None
    return pseudo / human


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassRetention:
    """AP of one class in both arms, means over seeds; None where undefined."""

    name: str
    human: float | None
    pseudo: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmenterResult:
    """Both arms of one segmenter; `human` is None when the file has no human masks.

    Attributes:
        human, pseudo: Means over seeds.
        seeds: Of the trainings of each arm.
        runs: The numbers of each seed, by arm.
        intervals: Of the retention rate, by field of MaskMetrics.
        classes: Classes with objects to find.
        human_source: Whether `human` was trained here or is the AP that others published.
        precision: By arm and IoU threshold, at recalls 0, 0.01, ... 1.
        reach: What these AP could find at all; None in files of older versions.
    """

    name: str
    human: MaskMetrics | None
    pseudo: MaskMetrics
    seeds: tuple[int, ...] = ()
    runs: Mapping[str, tuple[MaskMetrics, ...]] = field(default_factory=dict)
    intervals: Mapping[str, Interval | None] = field(default_factory=dict)
    classes: tuple[ClassRetention, ...] = ()
    human_source: Literal["trained", "published", "none"] = "trained"
    precision: Mapping[str, Mapping[str, tuple[float, ...]]] = field(default_factory=dict)
    reach: Reach | None = None

    def retention(self) -> dict[str, float | None]:
        """Retention rate of each metric, by its name in files."""
        return {
            name: retention_rate(getattr(self.pseudo, key), getattr(self.human, key, None))
            for key, name in METRICS.items()
        }

    def verdict(self, metric: str = "ap") -> str:
        """What the numbers allow to say; `metric` is a field of MaskMetrics."""
        return verdict(self.retention()[METRICS[metric]], self.intervals.get(metric))

    def to_json(self) -> dict[str, Any]:
        """This segmenter's part of retention.json."""
        return {
            "human": metrics_to_json(self.human),
            "pseudo": metrics_to_json(self.pseudo),
            "retention": self.retention(),
            "interval": {METRICS[key]: _pair(interval) for key, interval in self.intervals.items()},
            "verdict": {name: self.verdict(key) for key, name in METRICS.items()},
            "human_source": self.human_source,
            "seeds": list(self.seeds),
            "runs": {arm: [metrics_to_json(m) for m in runs] for arm, runs in self.runs.items()},
            "classes": {
                class_.name: {
                    "human": class_.human,
                    "pseudo": class_.pseudo,
                    "retention": retention_rate(class_.pseudo, class_.human),
                }
                for class_ in self.classes
            },
            "precision": {
                arm: {iou: list(curve) for iou, curve in curves.items()}
                for arm, curves in self.precision.items()
            },
            "reach": to_json(self.reach),
        }


def _pair(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


@dataclass(frozen=True, kw_only=True, slots=True)
class Accounting:
    """Where the boxes of the training file went."""

    boxes: int
    masks: int
    crowds: int
    skipped: Mapping[str, int]

    def line(self) -> str:
        """The accounting in one line."""
        total = sum(self.skipped.values())
        return (
            f"boxes in {self.boxes} = masks {self.masks} + crowds {self.crowds} + skipped {total}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SecondRuler:
    """The same predictions, scored by another annotation file of the validation images."""

    file: str
    segmenters: tuple[SegmenterResult, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RetentionReport:
    """Everything `retention.json` says.

    Attributes:
        scores: Labels by score, in ten bins.
    """

    segmenters: tuple[SegmenterResult, ...]
    quality: LabelQuality | None
    accounting: Accounting
    context: Mapping[str, str]
    second: SecondRuler | None = None
    scores: tuple[int, ...] = ()
    cost: Cost | None = None

    def to_json(self) -> dict[str, Any]:
        """The content of retention.json (see the module's docstring)."""
        return {
            "segmenters": {result.name: result.to_json() for result in self.segmenters},
            "second_ruler": None if self.second is None else _second_to_json(self.second),
            "label_quality": None if self.quality is None else _quality_to_json(self.quality),
            "label_scores": list(self.scores),
            "cost": None if self.cost is None else self.cost.to_json(),
            "accounting": to_json(self.accounting),
            "context": dict(self.context),
        }


def _second_to_json(second: SecondRuler) -> dict[str, Any]:
    return {"file": second.file, "segmenters": {r.name: r.to_json() for r in second.segmenters}}


def metrics_to_json(metrics: MaskMetrics | None) -> dict[str, float | None] | None:
    """Metrics by their names in files."""
    if metrics is None:
        return None
    return {name: getattr(metrics, key) for key, name in METRICS.items()}


def _quality_to_json(quality: LabelQuality) -> dict[str, Any]:
    means = {name: to_json(getattr(quality, name)) for name in QUALITY_ROWS}
    return {**means, "counts": dict(quality.counts)}


Numbers = Mapping[str, float | None]
"""Metrics by their names in files; a file of an older version lacks the newer ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _ClassFile:
    human: float | None
    pseudo: float | None
    retention: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _SegmenterFile:
    """What `SegmenterResult.to_json` writes; verdicts and rates follow from the rest."""

    human: Numbers | None
    pseudo: Numbers
    retention: Numbers
    interval: Mapping[str, tuple[float, float] | None]
    verdict: Mapping[str, str]
    seeds: tuple[int, ...]
    runs: Mapping[str, tuple[Numbers, ...]]
    classes: Mapping[str, _ClassFile]
    human_source: Literal["trained", "published", "none"] = "trained"
    precision: Mapping[str, Mapping[str, tuple[float, ...]]] = field(default_factory=dict)
    reach: Reach | None = None

    def result(self, name: str) -> SegmenterResult:
        pairs = {key: self.interval.get(metric) for key, metric in METRICS.items()}
        return SegmenterResult(
            name=name,
            human=None if self.human is None else _metrics(self.human),
            pseudo=_metrics(self.pseudo),
            seeds=self.seeds,
            runs={arm: tuple(map(_metrics, runs)) for arm, runs in self.runs.items()},
            intervals={
                key: None if pair is None else Interval(low=pair[0], high=pair[1])
                for key, pair in pairs.items()
                if self.interval
            },
            classes=tuple(
                ClassRetention(name=title, human=class_.human, pseudo=class_.pseudo)
                for title, class_ in self.classes.items()
            ),
            human_source=self.human_source,
            precision=self.precision,
            reach=self.reach,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _SecondFile:
    file: str
    segmenters: Mapping[str, _SegmenterFile]

    def ruler(self) -> SecondRuler:
        return SecondRuler(file=self.file, segmenters=_results(self.segmenters))


@dataclass(frozen=True, kw_only=True, slots=True)
class _QualityFile:
    mask_iou: SizeMeans
    box_fill: SizeMeans
    ellipse: SizeMeans
    counts: Mapping[str, int]

    def quality(self) -> LabelQuality:
        return LabelQuality(
            mask_iou=self.mask_iou,
            box_fill=self.box_fill,
            ellipse=self.ellipse,
            counts=self.counts,
            iou_of={},
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _ReportFile:
    """What `RetentionReport.to_json` writes."""

    segmenters: Mapping[str, _SegmenterFile]
    label_quality: _QualityFile | None
    accounting: Accounting
    context: Mapping[str, str]
    second_ruler: _SecondFile | None = None
    label_scores: tuple[int, ...] = ()
    cost: CostFile | None = None


def report_from_json(content: Mapping[str, Any]) -> RetentionReport:
    """The report that `to_json` wrote; the IoU of single labels is not in the file.

    Raises:
        RecordError: The content is none of this version or an older one.
    """
    file = from_json(_ReportFile, content, "retention.json")
    second, quality = file.second_ruler, file.label_quality
    return RetentionReport(
        segmenters=_results(file.segmenters),
        quality=None if quality is None else quality.quality(),
        accounting=file.accounting,
        context=file.context,
        second=None if second is None else second.ruler(),
        scores=file.label_scores,
        cost=None if file.cost is None else file.cost.cost(),
    )


def _results(files: Mapping[str, _SegmenterFile]) -> tuple[SegmenterResult, ...]:
    return tuple(file.result(name) for name, file in files.items())


def _metrics(values: Numbers) -> MaskMetrics:
    return MaskMetrics(**{key: values.get(name) for key, name in METRICS.items()})
