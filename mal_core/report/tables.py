"""A retention report as rows, text and markdown: for the terminal, the page and the dashboard."""

from collections.abc import Sequence

from mal_core.evaluation.intervals import Interval
from mal_core.evaluation.retention import METRICS, QUALITY_ROWS, RetentionReport, SegmenterResult
from mal_core.report.text_tables import (
    NOT_AVAILABLE,
    escaped,
    format_number,
    markdown_table,
    text_table,
)

SIZES = ("all", "small", "medium", "large")
LVIS_METRICS = ("ap_rare", "ap_common", "ap_frequent")
"""Left out of tables where no segmenter has them."""


def retention_rows(segmenters: Sequence[SegmenterResult]) -> list[dict[str, str]]:
    """Rows per segmenter: human masks, pseudo-labels, retention, interval; all cells text."""
    rows = []
    shown = _shown_metrics(segmenters)
    for result in segmenters:
        human = "human (published)" if result.human_source == "published" else "human masks"
        for title, metrics in ((human, result.human), ("pseudo-labels", result.pseudo)):
            cells = {
                name: format_number(getattr(metrics, key, None)) for key, name in shown.items()
            }
            rows.append({"segmenter": result.name, "trained on": title, **cells})
        kept = result.retention()
        rates = {name: format_number(kept[name], percent=True) for name in shown.values()}
        rows.append({"segmenter": result.name, "trained on": "retention", **rates})
        if result.intervals:
            ranges = {name: _range(result.intervals.get(key)) for key, name in shown.items()}
            rows.append({"segmenter": result.name, "trained on": "95 % interval", **ranges})
    return rows


def _shown_metrics(segmenters: Sequence[SegmenterResult]) -> dict[str, str]:
    """METRICS without those that only LVIS has, where nothing is LVIS."""
    results = [m for segmenter in segmenters for m in (segmenter.human, segmenter.pseudo)]
    federated = any(getattr(m, key, None) is not None for m in results for key in LVIS_METRICS)
    return {k: name for k, name in METRICS.items() if federated or k not in LVIS_METRICS}


def _range(interval: Interval | None) -> str:
    if interval is None:
        return NOT_AVAILABLE
    return f"{100 * interval.low:.0f}-{100 * interval.high:.0f} %"


def verdict_lines(report: RetentionReport) -> list[str]:
    """One sentence per segmenter about its AP, and those about images with very many objects."""
    lines = []
    for result in report.segmenters:
        if result.human_source == "published":
            lines.append(
                f"{result.name}: the AP on human masks is the published one, of another training: "
                "no interval, no verdict"
            )
        if not result.intervals:
            continue
        if len(result.seeds) == 1:
            basis = "one seed: noise of the trainings is not in the interval"
        else:
            basis = f"{len(result.seeds)} seeds"
        lines.append(f"{result.name}: {result.verdict()} by AP ({basis})")
    return [*lines, *_reach_lines(report)]


def _reach_lines(report: RetentionReport) -> list[str]:
    """What the limits of detections mean for these numbers; nothing for ordinary data."""
    lines = _lines_of_ruler("", report.segmenters)
    if report.second is not None:
        lines += _lines_of_ruler(f"by {report.second.file}: ", report.second.segmenters)
    return lines


def _lines_of_ruler(ruler: str, segmenters: Sequence[SegmenterResult]) -> list[str]:
    reach = {result.name: result.reach for result in segmenters if result.reach is not None}
    said_once = next((reached.ruler_lines() for reached in reach.values()), [])
    own = [
        f"{name}: {line}" for name, reached in reach.items() for line in reached.unreachable_lines()
    ]
    return [f"{ruler}{line}" for line in (*said_once, *own)]


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


def _cost_lines(report: RetentionReport) -> list[str]:
    return [] if report.cost is None else [report.cost.line()]


def retention_text(report: RetentionReport) -> str:
    """What a terminal shows at the end of a run."""
    parts = [text_table(retention_rows(report.segmenters)), text_table(quality_rows(report))]
    if report.second is not None:
        table = text_table(retention_rows(report.second.segmenters))
        parts.insert(1, f"by {report.second.file}:\n{table}")
    lines = [*verdict_lines(report), report.accounting.line(), *_cost_lines(report)]
    return "\n\n".join([*filter(None, parts), "\n".join(lines)])


def retention_markdown(report: RetentionReport) -> str:
    """The same numbers for the dashboard."""
    table = markdown_table(retention_rows(report.segmenters))
    parts = ["# Retention", table, *verdict_lines(report)]
    if report.second is not None:
        second = report.second
        parts += [
            f"## By {escaped(second.file)}",
            markdown_table(retention_rows(second.segmenters)),
        ]
    if report.quality is not None:
        parts += ["## Label quality", markdown_table(quality_rows(report))]
    parts += [report.accounting.line(), *_cost_lines(report)]
    parts += ["\n".join(f"- {key}: {escaped(value)}" for key, value in report.context.items())]
    return "\n\n".join(parts)
