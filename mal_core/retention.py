"""Retention: how much of the accuracy of human masks pseudo-labels keep (spec section 7).

`retention.json`, all AP in [0, 1], `null` where undefined:

    segmenters.NAME.human      AP AP50 AP75 APs APm APl of the arm trained on human masks, or null
    segmenters.NAME.pseudo     the same of the arm trained on pseudo-labels
    segmenters.NAME.retention  pseudo / human for each of them
    label_quality              mask_iou, box_fill, ellipse (all small medium large), counts; or null
    accounting                 boxes, masks, crowds, skipped (by reason)
    context                    what was run, as text
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mal_core.tables import escaped, format_number, markdown_table, text_table
from mal_core.types import LabelQuality, MaskMetrics, SizeMeans

METRICS = {
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap_small": "APs",
    "ap_medium": "APm",
    "ap_large": "APl",
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
class SegmenterResult:
    """Both arms of one segmenter; `human` is None when the file has no human masks."""

    name: str
    human: MaskMetrics | None
    pseudo: MaskMetrics

    def retention(self) -> dict[str, float | None]:
        """Retention rate of each metric, by its name in files."""
        return {
            name: retention_rate(getattr(self.pseudo, field), getattr(self.human, field, None))
            for field, name in METRICS.items()
        }


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
            "segmenters": {
                result.name: {
                    "human": metrics_to_json(result.human),
                    "pseudo": metrics_to_json(result.pseudo),
                    "retention": result.retention(),
                }
                for result in self.segmenters
            },
            "label_quality": None if self.quality is None else _quality_to_json(self.quality),
            "accounting": dataclasses.asdict(self.accounting),
            "context": dict(self.context),
        }


def metrics_to_json(metrics: MaskMetrics | None) -> dict[str, float | None] | None:
    """Metrics by their names in files."""
    if metrics is None:
        return None
    return {name: getattr(metrics, field) for field, name in METRICS.items()}


def _quality_to_json(quality: LabelQuality) -> dict[str, Any]:
    means = {name: dataclasses.asdict(getattr(quality, name)) for name in QUALITY_ROWS}
    return {**means, "counts": dict(quality.counts)}


def report_from_json(content: Mapping[str, Any]) -> RetentionReport:
    """The report that `to_json` wrote; the IoU of single labels is not in the file."""
    return RetentionReport(
        segmenters=tuple(
            SegmenterResult(
                name=name,
                human=_metrics(arms["human"]),
                pseudo=MaskMetrics(
                    **{field: arms["pseudo"][key] for field, key in METRICS.items()}
                ),
            )
            for name, arms in content["segmenters"].items()
        ),
        quality=_quality(content["label_quality"]),
        accounting=Accounting(**content["accounting"]),
        context=content["context"],
    )


def _metrics(values: Mapping[str, float | None] | None) -> MaskMetrics | None:
    if values is None:
        return None
    return MaskMetrics(**{field: values[name] for field, name in METRICS.items()})


def _quality(values: Mapping[str, Any] | None) -> LabelQuality | None:
    if values is None:
        return None
    means = {name: SizeMeans(**values[name]) for name in QUALITY_ROWS}
    return LabelQuality(**means, counts=values["counts"], iou_of={})


def retention_rows(report: RetentionReport) -> list[dict[str, str]]:
    """Three rows per segmenter: human masks, pseudo-labels, retention; all cells text."""
    rows = []
    for result in report.segmenters:
        for title, metrics in (("human masks", result.human), ("pseudo-labels", result.pseudo)):
            cells = {
                name: format_number(getattr(metrics, field, None))
                for field, name in METRICS.items()
            }
            rows.append({"segmenter": result.name, "trained on": title, **cells})
        rates = {
            name: format_number(value, percent=True) for name, value in result.retention().items()
        }
        rows.append({"segmenter": result.name, "trained on": "retention", **rates})
    return rows


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
    return "\n\n".join([*filter(None, parts), report.accounting.line()])


def retention_markdown(report: RetentionReport) -> str:
    """The same numbers for the dashboard."""
    parts = ["# Retention", markdown_table(retention_rows(report))]
    if report.quality is not None:
        parts += ["## Label quality", markdown_table(quality_rows(report))]
    parts += [report.accounting.line()]
    parts += ["\n".join(f"- {key}: {escaped(value)}" for key, value in report.context.items())]
    return "\n\n".join(parts)
