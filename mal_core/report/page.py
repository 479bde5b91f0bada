"""`report.html`: one file that opens offline and shows what a run achieved."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mal_core.evaluation.retention import RetentionReport
from mal_core.processes.files import atomic_path
from mal_core.report.failures import build_failures
from mal_core.report.gallery import GalleryRow, build_gallery
from mal_core.report.plots import (
    plot_classes,
    plot_curves,
    plot_precision,
    plot_rates,
    plot_retention,
    plot_scores,
    plot_sizes,
    read_curve,
)
from mal_core.report.tables import quality_rows, retention_rows, verdict_lines
from mal_core.review.curve import worth_of_review
from mal_core.types import LabelQuality

TEMPLATE = "report_template.html"
MAL_CURVES = {"loss": "total", "loss_mil": "MIL", "loss_crf": "CRF", "loss_dice": "labels"}
ARM_TITLES = {"human": "human masks", "pseudo": "pseudo-labels"}


@dataclass(frozen=True, kw_only=True)
class ReportSources:
    """What the report shows beside the numbers.

    Attributes:
        labeled: Pseudo-label file.
        human: The file it was made from, with human masks or without.
        images: Folder of its photos.
        mal_scalars: Training curve of phase 1, JSON lines; None or no such file: there is none.
        curves: Training curve (JSON lines) by segmenter and arm.
        val_annotations, val_images: What the predictions are judged by.
        predictions: Results list by segmenter and arm.
        config_diffs: What differs between the mmdet configs of both arms, by segmenter.
        settings: The composed settings as YAML.
    """

    labeled: Path
    human: Path
    images: Path
    mal_scalars: Path | None
    curves: Mapping[tuple[str, str], Path]
    val_annotations: Path
    val_images: Path
    predictions: Mapping[tuple[str, str], Path]
    config_diffs: Mapping[str, str]
    settings: str


def write_report(
    report: RetentionReport, quality: LabelQuality | None, sources: ReportSources, output: Path
) -> None:
    """Write the HTML report atomically.

    Args:
        report: The numbers.
        quality: IoU of single labels, for the gallery; None when there are no human masks.
        sources: Curves, masks, photos and configs to show.
        output: Target file.
    """
    gallery = build_gallery(sources.labeled, sources.images, quality, human=sources.human)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template(TEMPLATE).render(
        context=report.context,
        retention=retention_rows(report.segmenters),
        second=report.second,
        second_rows=[] if report.second is None else retention_rows(report.second.segmenters),
        scores_plot=Markup(plot_scores(report.scores)) if any(report.scores) else None,
        sizes=[(r.name, Markup(plot_sizes(r))) for r in report.segmenters],
        precision=[(r.name, Markup(plot_precision(r))) for r in report.segmenters if r.precision],
        failures=_failures(report, sources),
        cost=report.cost,
        quality=quality_rows(report),
        review=_review(report, quality, sources.labeled),
        counts=None if report.quality is None else report.quality.counts,
        accounting=report.accounting.line(),
        skipped=report.accounting.skipped,
        has_human=any(result.human is not None for result in report.segmenters),
        verdicts=verdict_lines(report),
        retention_plot=Markup(plot_retention(report)),
        rates_plot=_rates_plot(report),
        classes=[(r.name, Markup(plot_classes(r))) for r in report.segmenters if r.classes],
        curves=_curve_plots(report, sources),
        gallery=[_embed(row) for row in gallery],
        diffs=sources.config_diffs,
        settings=sources.settings,
    )
    with atomic_path(output) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _review(report: RetentionReport, quality: LabelQuality | None, labeled: Path) -> str | None:
    """What a review of the labels would be worth, where human masks tell."""
    if quality is None or report.cost is None:
        return None
    return worth_of_review(labeled, quality.iou_of, report.cost.seconds_per_mask)


def _failures(
    report: RetentionReport, sources: ReportSources
) -> list[tuple[str, list[dict[str, object]]]]:
    """Rows of pictures by segmenter."""
    found = []
    for result in report.segmenters:
        predictions = {
            arm: sources.predictions[result.name, arm]
            for arm in ARM_TITLES
            if (result.name, arm) in sources.predictions
        }
        if "pseudo" in predictions:
            rows = build_failures(sources.val_annotations, sources.val_images, predictions)
            found.append((result.name, [_embed(row) for row in rows]))
    return found


def _rates_plot(report: RetentionReport) -> Markup | None:
    measured = any(result.intervals for result in report.segmenters)
    return Markup(plot_rates(report)) if measured else None


def _embed(row: GalleryRow) -> dict[str, object]:
    items = [
        {
            "caption": item.caption,
            "source": f"data:image/jpeg;base64,{base64.b64encode(item.jpeg).decode()}",
        }
        for item in row.items
    ]
    return {"title": row.title, "items": items}


def _curve_plots(report: RetentionReport, sources: ReportSources) -> list[tuple[str, Markup]]:
    """Title and SVG of each training."""
    scalars = sources.mal_scalars
    mal = {
        title: [] if scalars is None else read_curve(scalars, key)
        for key, title in MAL_CURVES.items()
    }
    plots = [("Phase 1: mask auto-labeler", plot_curves(mal, "loss"))] if any(mal.values()) else []
    for result in report.segmenters:
        curves = {
            title: read_curve(sources.curves[result.name, arm], "loss")
            for arm, title in ARM_TITLES.items()
            if (result.name, arm) in sources.curves
        }
        plots.append((f"Phase 2: {result.name}", plot_curves(curves, "loss")))
    return [(title, Markup(svg)) for title, svg in plots]
