"""Retention: how much of the accuracy of human masks pseudo-labels keep (spec section 7).

`retention.json`, all AP in [0, 1], `null` where undefined:

    segmenters.NAME.human      AP AP50 AP75 APs APm APl APb (boundary AP) of the arm trained on
                               human masks, or null
    segmenters.NAME.pseudo     the same of the arm trained on pseudo-labels
    segmenters.NAME.retention  pseudo / human for each of them
    segmenters.NAME.interval   [low, high] of each rate in 95 % of resamples (mal_core.bootstrap)
    segmenters.NAME.verdict    what they allow to say
    segmenters.NAME.seeds      of the trainings; human and pseudo are means over them
    segmenters.NAME.runs       human, pseudo: the numbers of each seed
    segmenters.NAME.classes    per class: human, pseudo (AP), retention
    label_quality              mask_iou, box_fill, ellipse (all small medium large), counts; or null
    accounting                 boxes, masks, crowds, skipped (by reason)
    context                    what was run, as text
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mal_core.bootstrap import Interval, verdict
from mal_core.tables import NOT_AVAILABLE, escaped, format_number, markdown_table, text_table
from mal_core.types import LabelQuality, MaskMetrics, SizeMeans

METRICS = {
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap_small": "APs",
    "ap_medium": "APm",
    "ap_large": "APl",
    "ap_boundary": "APb",
}
"""Field of MaskMetrics -> its name in files and tables."""
QUALITY_ROWS = {
    "mask_iou": "pseudo-labels",
    "ellipse": "inscribed ellipses",
    "box_fill": "filled boxes",
}
SIZES = ("all", "small", "medium", "large")


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
    """

    name: str
    human: MaskMetrics | None
    pseudo: MaskMetrics
    seeds: tuple[int, ...] = ()
    runs: Mapping[str, tuple[MaskMetrics, ...]] = field(default_factory=dict)
    intervals: Mapping[str, Interval | None] = field(default_factory=dict)
    classes: tuple[ClassRetention, ...] = ()

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
            "interval": {METRICS[key]: _pair(one) for key, one in self.intervals.items()},
            "verdict": {name: self.verdict(key) for key, name in METRICS.items()},
            "seeds": list(self.seeds),
            "runs": {arm: [metrics_to_json(m) for m in runs] for arm, runs in self.runs.items()},
            "classes": {
                one.name: {
                    "human": one.human,
                    "pseudo": one.pseudo,
                    "retention": retention_rate(one.pseudo, one.human),
                }
                for one in self.classes
            },
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
class RetentionReport:
    """Everything `retention.json` says."""

    segmenters: tuple[SegmenterResult, ...]
    quality: LabelQuality | None
    accounting: Accounting
    context: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """The content of retention.json (see the module's docstring)."""
        return {
            "segmenters": {result.name: result.to_json() for result in self.segmenters},
            "label_quality": None if self.quality is None else _quality_to_json(self.quality),
            "accounting": dataclasses.asdict(self.accounting),
            "context": dict(self.context),
        }


def metrics_to_json(metrics: MaskMetrics | None) -> dict[str, float | None] | None:
    """Metrics by their names in files."""
    if metrics is None:
        return None
    return {name: getattr(metrics, key) for key, name in METRICS.items()}


def _quality_to_json(quality: LabelQuality) -> dict[str, Any]:
    means = {name: dataclasses.asdict(getattr(quality, name)) for name in QUALITY_ROWS}
    return {**means, "counts": dict(quality.counts)}


def report_from_json(content: Mapping[str, Any]) -> RetentionReport:
    """The report that `to_json` wrote; the IoU of single labels is not in the file."""
    return RetentionReport(
        segmenters=tuple(_segmenter(name, arms) for name, arms in content["segmenters"].items()),
        quality=_quality(content["label_quality"]),
        accounting=Accounting(**content["accounting"]),
        context=content["context"],
    )


def _segmenter(name: str, content: Mapping[str, Any]) -> SegmenterResult:
    pairs = {key: content["interval"].get(metric) for key, metric in METRICS.items()}
    human = content["human"]
    return SegmenterResult(
        name=name,
        human=None if human is None else _metrics(human),
        pseudo=_metrics(content["pseudo"]),
        seeds=tuple(content["seeds"]),
        runs={arm: tuple(map(_metrics, runs)) for arm, runs in content["runs"].items()},
        intervals={
            key: None if pair is None else Interval(low=pair[0], high=pair[1])
            for key, pair in pairs.items()
            if content["interval"]
        },
        classes=tuple(
            ClassRetention(name=title, human=one["human"], pseudo=one["pseudo"])
            for title, one in content["classes"].items()
        ),
    )


def _metrics(values: Mapping[str, float | None]) -> MaskMetrics:
    return MaskMetrics(**{key: values[name] for key, name in METRICS.items()})


def _quality(values: Mapping[str, Any] | None) -> LabelQuality | None:
    if values is None:
        return None
    means = {name: SizeMeans(**values[name]) for name in QUALITY_ROWS}
    return LabelQuality(**means, counts=values["counts"], iou_of={})


def retention_rows(report: RetentionReport) -> list[dict[str, str]]:
    """Rows per segmenter: human masks, pseudo-labels, retention, interval; all cells text."""
    rows = []
    for result in report.segmenters:
        for title, metrics in (("human masks", result.human), ("pseudo-labels", result.pseudo)):
            cells = {
                name: format_number(getattr(metrics, key, None)) for key, name in METRICS.items()
            }
            rows.append({"segmenter": result.name, "trained on": title, **cells})
        rates = {
            name: format_number(value, percent=True) for name, value in result.retention().items()
        }
        rows.append({"segmenter": result.name, "trained on": "retention", **rates})
        if result.intervals:
            ranges = {name: _range(result.intervals.get(key)) for key, name in METRICS.items()}
            rows.append({"segmenter": result.name, "trained on": "95 % interval", **ranges})
    return rows


def _range(interval: Interval | None) -> str:
    if interval is None:
        return NOT_AVAILABLE
    return f"{100 * interval.low:.0f}-{100 * interval.high:.0f} %"


def verdict_lines(report: RetentionReport) -> list[str]:
    """One sentence per segmenter about its AP."""
    lines = []
    for result in report.segmenters:
        if not result.intervals:
            continue
        if len(result.seeds) == 1:
            basis = "one seed: noise of the trainings is not in the interval"
        else:
            basis = f"{len(result.seeds)} seeds"
        lines.append(f"{result.name}: {result.verdict()} by AP ({basis})")
    return lines


def quality_rows(report: RetentionReport) -> list[dict[str, str]]:
    """Mean mask IoU of pseudo-labels and of the two yardsticks, by box size."""
    quality = report.quality
    if quality is None:
        return []
    return [
        {
            "mask IoU": title,
            **{size: format_number(getattr(getattr(quality, name), size)) for size in SIZES},
        }
        for name, title in QUALITY_ROWS.items()
    ]


def retention_text(report: RetentionReport) -> str:
    """What a terminal shows at the end of a run."""
    parts = [text_table(retention_rows(report)), text_table(quality_rows(report))]
    lines = [*verdict_lines(report), report.accounting.line()]
    return "\n\n".join([*filter(None, parts), "\n".join(lines)])


def retention_markdown(report: RetentionReport) -> str:
    """The same numbers for the dashboard."""
    parts = ["# Retention", markdown_table(retention_rows(report)), *verdict_lines(report)]
    if report.quality is not None:
        parts += ["## Label quality", markdown_table(quality_rows(report))]
    parts += [report.accounting.line()]
    parts += ["\n".join(f"- {key}: {escaped(value)}" for key, value in report.context.items())]
    return "\n\n".join(parts)
