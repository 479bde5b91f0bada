"""Runs over time: what each evaluation found, as a table and as a plot.

A history is a JSON-lines file; each line is one segmenter of one evaluation:
time (UTC, ISO 8601), run (working folder), data (digest of the validation file), segmenter,
human, pseudo, retention, low, high, mask_iou; numbers are AP or rates, null where undefined.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mal_core.evaluation.retention import RetentionReport
from mal_core.processes.files import append_jsonl, atomic_path
from mal_core.processes.records import from_json
from mal_core.report.text_tables import format_number, text_table

TEMPLATE = "history_template.html"


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """One line of the history."""

    time: str
    run: str
    data: str
    segmenter: str
    human: float | None
    pseudo: float | None
    retention: float | None
    low: float | None
    high: float | None
    mask_iou: float | None


def record(path: Path, report: RetentionReport, *, run: str, data: str) -> None:
    """Append an evaluation, unless the same numbers of the same run are its last entry.

    Args:
        path: The history.
        report: What was found.
        run: Name of the run.
        data: Digest of what it was scored on; only equal ones can be compared.
    """
    known = {
        (evaluation.run, evaluation.data, evaluation.segmenter): evaluation
        for evaluation in read_history(path)
    }
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for result in report.segmenters:
        interval = result.intervals.get("ap")
        entry = Evaluation(
            time=now,
            run=run,
            data=data,
            segmenter=result.name,
            human=None if result.human is None else result.human.ap,
            pseudo=result.pseudo.ap,
            retention=result.retention()["AP"],
            low=None if interval is None else interval.low,
            high=None if interval is None else interval.high,
            mask_iou=None if report.quality is None else report.quality.mask_iou.all,
        )
        last = known.get((run, data, result.name))
        if last is None or {**asdict(last), "time": now} != asdict(entry):
            append_jsonl(path, asdict(entry))


def read_history(path: Path, data: str | None = None) -> tuple[Evaluation, ...]:
    """All evaluations, or those on the same data; a line that was cut off is left out."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            found.append(from_json(Evaluation, json.loads(line), path))
        except ValueError:
            continue
    return tuple(evaluation for evaluation in found if data is None or evaluation.data == data)


def history_rows(evaluations: Sequence[Evaluation]) -> list[dict[str, str]]:
    """Rows of text, the newest last."""
    return [
        {
            "time (UTC)": evaluation.time[:16].replace("T", " "),
            "run": evaluation.run,
            "segmenter": evaluation.segmenter,
            "human": format_number(evaluation.human),
            "pseudo": format_number(evaluation.pseudo),
            "retention": format_number(evaluation.retention, percent=True),
            "95 %": _range(evaluation),
            "mask IoU": format_number(evaluation.mask_iou),
            "data": evaluation.data[:8],
        }
        for evaluation in evaluations
    ]


def history_text(evaluations: Sequence[Evaluation]) -> str:
    """A table for the terminal."""
    return text_table(history_rows(evaluations))


def _range(evaluation: Evaluation) -> str:
    return (
        "n/a"
        if evaluation.low is None or evaluation.high is None
        else f"{100 * evaluation.low:.0f}-{100 * evaluation.high:.0f}"
    )


def write_page(evaluations: Sequence[Evaluation], target: Path) -> None:
    """`page` as a file."""
    with atomic_path(target) as temporary:
        temporary.write_text(page(evaluations), encoding="utf-8")


def page(
    evaluations: Sequence[Evaluation], *, linked: bool = False, reviews: Sequence[str] = ()
) -> str:
    """HTML that needs nothing beside it: a plot per validation file, and the table.

    Args:
        evaluations: What to show.
        linked: Working folders lead to their report.html; for `mal serve`.
        reviews: Folders of `mal review`, which lead to their review.html.
    """
    on: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        on.setdefault(evaluation.data, []).append(evaluation)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    text: str = environment.get_template(TEMPLATE).render(
        rows=history_rows(evaluations),
        linked=linked,
        reviews=reviews,
        plots=[(data[:8], Markup(plot_history(of))) for data, of in on.items()],
    )
    return text


def plot_history(evaluations: Sequence[Evaluation]) -> str:
    """Retention of each segmenter over the runs, with whiskers, as SVG."""
    # Every flow run imports this module, and few draw.
    from matplotlib.figure import Figure

    from mal_core.report.plots import to_svg

    figure = Figure(figsize=(6.4, 2.8))
    axes = figure.subplots()
    for index, name in enumerate(dict.fromkeys(evaluation.segmenter for evaluation in evaluations)):
        color = f"C{index}"
        known = [
            (place, evaluation)
            for place, evaluation in enumerate(evaluations)
            if evaluation.segmenter == name and evaluation.retention is not None
        ]
        for place, evaluation in known:
            if evaluation.low is not None and evaluation.high is not None:
                axes.plot(
                    [place] * 2,
                    [100 * evaluation.low, 100 * evaluation.high],
                    color=color,
                    linewidth=1.4,
                )
        places = [place for place, _ in known]
        rates = [
            100 * evaluation.retention
            for _, evaluation in known
            if evaluation.retention is not None
        ]
        axes.plot(places, rates, "o-", color=color, markersize=4, linewidth=0.8, label=name)
    ticks = range(len(evaluations))
    axes.set_xticks(
        ticks, [evaluation.time[5:16].replace("T", "\n") for evaluation in evaluations], fontsize=7
    )
    axes.axhline(100, color="0.5", linewidth=0.8, linestyle="--")
    axes.set_ylabel("retention, %")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)
    return to_svg(figure)
