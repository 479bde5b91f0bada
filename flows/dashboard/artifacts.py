"""Prefect artifacts under fixed keys, so that the versions of one key line up over runs.

A key names the data, and a table's key the segmenter too: `retention-DATA-SEGMENTER`.
"""

import base64
import re
from collections.abc import Sequence
from pathlib import Path

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from mal_core.evaluation.retention import RetentionReport
from mal_core.report.history import Evaluation, plot_history
from mal_core.report.tables import retention_markdown, retention_rows
from mal_core.report.text_tables import format_number

SHOWN_RUNS = 20
SWEEP_KEY = "mal-sweep"


def show_accounting(data: str, workdir: Path, line: str) -> None:
    """Publish where every box went."""
    create_markdown_artifact(
        key=artifact_key("labels", data),
        markdown=f"# Pseudo-labels\n\n{line}\n\n`{workdir / 'labels' / 'train.json'}`",
        description="every box is a mask, a crowd, or skipped with its reason",
    )


def show_retention(
    data: str,
    workdir: Path,
    report: RetentionReport,
    evaluations: Sequence[Evaluation],
    url: str,
) -> None:
    """Publish the report: one page of markdown, and a table per segmenter.

    Args:
        data: Name of the data that the segmenters were scored on.
        workdir: Where the run left its files.
        report: The numbers.
        evaluations: Of this and earlier runs on the same validation data.
        url: Where `mal serve` has the HTML report.

    Cells are text, "n/a" where a number is undefined: Prefect shows a table with NaN as empty.
    """
    page = [
        retention_markdown(report),
        f"![AP of both arms]({_bar_plot(report)})",
        f"Full report: [{url}]({url}) while `mal serve` runs, or `{workdir / 'report.html'}`",
    ]
    if len(evaluations) > 1:
        trend = _data_uri(_on_paper(plot_history(evaluations[-SHOWN_RUNS:])))
        page.append(f"## Runs on the same validation data\n\n![Retention over runs]({trend})")
    key = artifact_key("report", data)
    create_link_artifact(url, "report.html", key=key, description="while `mal serve` runs")
    create_markdown_artifact(
        key=artifact_key("retention", data),
        markdown="\n\n".join(page),
        description="how much accuracy of human masks the pseudo-labels keep",
    )
    for result in report.segmenters:
        create_table_artifact(
            key=artifact_key("retention", data, result.name),
            table=[
                row for row in retention_rows(report.segmenters) if row["segmenter"] == result.name
            ],
            description=f"{result.name}: {format_number(result.retention()['AP'], percent=True)}",
        )


def show_sweep(rows: list[dict[str, str]]) -> None:
    """Publish what each run of a sweep came to."""
    create_table_artifact(key=SWEEP_KEY, table=rows, description=f"{len(rows)} results")


def artifact_key(*words: str) -> str:
    """Artifact key made of words; Prefect allows lowercase letters, digits, dashes."""
    return re.sub("[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")


def _bar_plot(report: RetentionReport) -> str:
    """Mask AP of both arms as a small SVG in a data URI; an undefined bar is left out."""
    bars, y = [], 4
    for result in report.segmenters:
        for title, metrics, color in (
            ("human masks", result.human, "#4477aa"),
            ("pseudo-labels", result.pseudo, "#ee6677"),
        ):
            ap = None if metrics is None else metrics.ap
            length = 0 if ap is None else round(300 * ap)
            label = f"{result.name}, {title}: {format_number(ap)}"
            bars.append(
                f'<rect x="0" y="{y}" width="{length}" height="14" fill="{color}"/>'
                f'<text x="{length + 6}" y="{y + 11}" font-size="11">{label}</text>'
            )
            y += 18
        y += 8
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="640" height="{y + 8}">'
    # The dashboard has a dark theme; an image brings its own paper.
    paper = '<rect width="100%" height="100%" rx="4" fill="white"/><g transform="translate(8 4)">'
    return _data_uri(f"{head}{paper}{''.join(bars)}</g></svg>")


def _on_paper(svg: str) -> str:
    """White below a plot; matplotlib's own is transparent where the figure ends."""
    end = svg.index(">") + 1
    return f'{svg[:end]}<rect width="100%" height="100%" fill="white"/>{svg[end:]}'


def _data_uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
