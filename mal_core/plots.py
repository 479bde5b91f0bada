"""The report's plots, as SVG text that needs no file beside it."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from mal_core.retention import METRICS, RetentionReport, SegmenterResult
from mal_core.tables import format_number

HUMAN_COLOR, PSEUDO_COLOR = "#4c78a8", "#f58518"
SHOWN_CLASSES = 40
Curve = Sequence[tuple[float, float]]


def _svg(figure: Figure) -> str:
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
    return _svg(figure)


def plot_rates(report: RetentionReport) -> str:
    """Retention of every metric as a dot, with its interval as whiskers; 100 % is a line."""
    results = [result for result in report.segmenters if result.human is not None]
    figure = Figure(figsize=(5.4, 1.2 + 0.42 * len(METRICS) * max(1, len(results)) ** 0.7))
    axes = figure.subplots()
    names = list(METRICS.values())
    for index, result in enumerate(results):
        shift = (index - (len(results) - 1) / 2) * 0.8 / max(1, len(results))
        rates = result.retention()
        for row, (key, name) in enumerate(METRICS.items()):
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
    return _svg(figure)


def plot_classes(result: SegmenterResult) -> str:
    """AP of each class in both arms; the classes that lose most come first."""
    classes = sorted(result.classes, key=lambda one: (one.pseudo or 0.0) - (one.human or 0.0))
    shown = classes[:SHOWN_CLASSES]
    figure = Figure(figsize=(5.4, 0.9 + 0.34 * len(shown)))
    axes = figure.subplots()
    for row, one in enumerate(shown):
        axes.barh(row - 0.2, one.human or 0.0, 0.38, color=HUMAN_COLOR)
        axes.barh(row + 0.2, one.pseudo or 0.0, 0.38, color=PSEUDO_COLOR)
    # A dollar sign in a name would start a formula.
    names = [one.name.replace("$", r"\$") for one in shown]
    axes.set_yticks(range(len(shown)), names)
    axes.invert_yaxis()
    hidden = len(classes) - len(shown)
    axes.set_xlabel(f"mask AP ({hidden} more classes not shown)" if hidden else "mask AP")
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


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
    return _svg(figure)
