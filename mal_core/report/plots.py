"""The report's plots, as SVG text that needs no file beside it."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from mal_core.evaluation.retention import METRICS, RetentionReport, SegmenterResult
from mal_core.report.text_tables import format_number

HUMAN_COLOR, PSEUDO_COLOR = "#4c78a8", "#f58518"
SHOWN_CLASSES = 40
SIZES = (
    ("ap_small", "small, below 32² px"),
    ("ap_medium", "medium, below 96² px"),
    ("ap_large", "large"),
)
Curve = Sequence[tuple[float, float]]


def to_svg(figure: Figure) -> str:
    """SVG without XML prologue; equal input gives equal text."""
    stream = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "mal", "svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", metadata={"Date": None}, bbox_inches="tight")
    text = stream.getvalue()
    return text[text.index("<svg") :]


def plot_retention(report: RetentionReport) -> str:
    """Bars of AP per segmenter and arm, with the retention rate above them."""
    names = [result.name for result in report.segmenters]
    human = [result.human.ap if result.human else None for result in report.segmenters]
    pseudo = [result.pseudo.ap for result in report.segmenters]
    figure = Figure(figsize=(max(4.0, 1.6 + 1.8 * len(names)), 3.0))
    axes = figure.subplots()
    bars = ((-0.2, human, HUMAN_COLOR, "human masks"), (0.2, pseudo, PSEUDO_COLOR, "pseudo-labels"))
    for shift, values, color, title in bars:
        positions = [index + shift for index in range(len(names))]
        axes.bar(positions, [value or 0.0 for value in values], 0.38, color=color, label=title)
    for index, result in enumerate(report.segmenters):
        top = max(human[index] or 0.0, pseudo[index] or 0.0)
        rate = format_number(result.retention()["AP"], percent=True)
        axes.annotate(rate, (index, top), (0, 3), textcoords="offset points", ha="center")
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("mask AP")
    axes.margins(y=0.2)
    axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.spines[["top", "right"]].set_visible(False)
    return to_svg(figure)


def plot_rates(report: RetentionReport) -> str:
    """Retention of every metric as a dot, with its interval as whiskers; 100 % is a line."""
    results = [result for result in report.segmenters if result.human is not None]
    figure = Figure(figsize=(5.4, 1.2 + 0.42 * len(METRICS) * max(1, len(results)) ** 0.7))
    axes = figure.subplots()
    shown = _measured(results)
    names = list(shown.values())
    for index, result in enumerate(results):
        shift = (index - (len(results) - 1) / 2) * 0.8 / max(1, len(results))
        rates = result.retention()
        for row, (key, name) in enumerate(shown.items()):
            rate, interval = rates[name], result.intervals.get(key)
            if rate is None:
                continue
            y = row + shift
            if interval is not None:
                ends = [100 * interval.low, 100 * interval.high]
                axes.plot(ends, [y, y], color=f"C{index}", linewidth=1.6)
            axes.plot([100 * rate], [y], "o", color=f"C{index}", markersize=5)
        axes.plot([], [], "o-", color=f"C{index}", label=result.name)
    axes.axvline(100, color="0.5", linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("retention (%), 95 % of resamples")
    axes.set_xlim(left=0)
    if len(results) > 1:
        axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.spines[["top", "right"]].set_visible(False)
    return to_svg(figure)


def _measured(results: Sequence[SegmenterResult]) -> dict[str, str]:
    """METRICS that have a rate somewhere."""
    return {
        key: name
        for key, name in METRICS.items()
        if any(result.retention()[name] is not None for result in results)
    }


def plot_sizes(result: SegmenterResult) -> str:
    """AP of small, medium and large objects in both arms; an undefined one has no bar."""
    figure = Figure(figsize=(5.4, 2.4))
    axes = figure.subplots()
    for row, (key, _) in enumerate(SIZES):
        for shift, metrics, color in (
            (-0.2, result.human, HUMAN_COLOR),
            (0.2, result.pseudo, PSEUDO_COLOR),
        ):
            value = getattr(metrics, key, None)
            if value is not None:
                axes.bar(row + shift, value, 0.38, color=color)
                axes.annotate(
                    format_number(value),
                    (row + shift, value),
                    (0, 2),
                    textcoords="offset points",
                    ha="center",
                    fontsize="x-small",
                )
    axes.set_xticks(range(len(SIZES)), [title for _, title in SIZES])
    axes.set_ylabel("mask AP")
    axes.margins(y=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    return to_svg(figure)


def plot_precision(result: SegmenterResult) -> str:
    """Precision over recall of both arms at IoU 0.50 (full lines) and 0.75 (dashed)."""
    figure = Figure(figsize=(5.4, 3.0))
    axes = figure.subplots()
    for arm, color in (("human", HUMAN_COLOR), ("pseudo", PSEUDO_COLOR)):
        curves = result.precision.get(arm, {})
        for (iou, curve), style in zip(curves.items(), ("-", "--"), strict=False):
            recalls = [place / max(1, len(curve) - 1) for place in range(len(curve))]
            title = "human masks" if arm == "human" else "pseudo-labels"
            axes.plot(recalls, curve, style, color=color, label=f"{title}, IoU {iou}")
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.spines[["top", "right"]].set_visible(False)
    return to_svg(figure)


def plot_scores(counts: Sequence[int]) -> str:
    """How many labels have which score, in equal bins from 0 to 1."""
    figure = Figure(figsize=(5.4, 2.2))
    axes = figure.subplots()
    width = 1 / max(1, len(counts))
    places = [width * (index + 0.5) for index in range(len(counts))]
    axes.bar(places, counts, 0.92 * width, color=PSEUDO_COLOR)
    axes.set_xlim(0, 1)
    axes.set_xlabel("score: expected IoU with a human mask")
    axes.set_ylabel("labels")
    axes.spines[["top", "right"]].set_visible(False)
    return to_svg(figure)


def plot_classes(result: SegmenterResult) -> str:
    """AP of each class in both arms; the classes that lose most come first."""
    classes = sorted(
        result.classes, key=lambda of_class: (of_class.pseudo or 0.0) - (of_class.human or 0.0)
    )
    shown = classes[:SHOWN_CLASSES]
    figure = Figure(figsize=(5.4, 0.9 + 0.34 * len(shown)))
    axes = figure.subplots()
    for row, of_class in enumerate(shown):
        axes.barh(row - 0.2, of_class.human or 0.0, 0.38, color=HUMAN_COLOR)
        axes.barh(row + 0.2, of_class.pseudo or 0.0, 0.38, color=PSEUDO_COLOR)
    # A dollar sign in a name would start a formula.
    names = [of_class.name.replace("$", r"\$") for of_class in shown]
    axes.set_yticks(range(len(shown)), names)
    axes.invert_yaxis()
    hidden = len(classes) - len(shown)
    axes.set_xlabel(f"mask AP ({hidden} more classes not shown)" if hidden else "mask AP")
    axes.spines[["top", "right"]].set_visible(False)
    return to_svg(figure)


def read_curve(scalars: Path, name: str) -> Curve:
    """(step, value) pairs of one scalar from a JSON-lines file."""
    lines = scalars.read_text().splitlines() if scalars.exists() else []
    entries = [json.loads(line) for line in lines]
    return [(entry["step"], entry[name]) for entry in entries if name in entry]


def smooth(curve: Curve, weight: float = 0.8) -> Curve:
    """Exponential moving average of a curve."""
    smoothed: list[tuple[float, float]] = []
    for step, value in curve:
        last = smoothed[-1][1] if smoothed else value
        smoothed.append((step, weight * last + (1 - weight) * value))
    return smoothed


def plot_curves(curves: Mapping[str, Curve], y_label: str) -> str:
    """Named curves over training steps, raw in pale and smoothed on top."""
    figure = Figure(figsize=(5.4, 3.0))
    axes = figure.subplots()
    for index, (name, curve) in enumerate(curves.items()):
        if not curve:
            continue
        color = f"C{index}"
        axes.plot(*zip(*curve, strict=True), color=color, alpha=0.25, linewidth=0.8)
        axes.plot(*zip(*smooth(curve), strict=True), color=color, linewidth=1.6, label=name)
    axes.set_xlabel("step")
    axes.set_ylabel(y_label)
    if any(curves.values()):
        axes.legend(frameon=False, fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)
    return to_svg(figure)
