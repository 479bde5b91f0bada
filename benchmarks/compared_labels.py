"""The table of trainings on several labels: what each keeps of a segmenter on reference labels."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.datasets import Data
from benchmarks.trainings import Training
from mal_core.evaluation.agreement import measure_agreement
from mal_core.evaluation.compared_arms import RunMatches, compare_arms
from mal_core.evaluation.reliability import rank_correlation
from mal_core.processes.files import write_json
from mal_core.report.text_tables import markdown_table

HUMAN = "human masks"
METRICS = ("AP", "AP75", "APbnd")
PROPERTIES = {"mask IoU": "mask_iou", "boundary IoU": "boundary_iou"}
FEWEST_LABELS = 4
"""A rank correlation of fewer says nothing."""


class Table:
    """What is known so far; written after every training.

    Attributes:
        found: Trainings, matched with the human masks of the validation split.
        quality: Mean mask IoU and boundary IoU by data set and labels.
    """

    def __init__(self, out: Path, labels: Sequence[str], reference: str = HUMAN) -> None:
        """Labels in the order of the rows; trainings on `reference` are what is kept of."""
        self.out = out
        self.labels = tuple(labels)
        self.reference = reference
        self.found: dict[Training, RunMatches] = {}
        self.quality: dict[tuple[str, str], dict[str, float]] = {}

    def add(self, training: Training, matches: RunMatches, labels: Path) -> None:
        """One training more."""
        self.found[training] = matches
        key = training.data.name, training.labels
        if key not in self.quality:
            self.quality[key] = _quality(training.data, labels)
        self.write()

    def write(self) -> None:
        """As JSON and as markdown."""
        write_json(self.out / "table.json", self.rows(), indent=1)
        (self.out / "table.md").write_text(self.text() + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """One per data set, recipe and labels of which the reference has the same seeds."""
        runs: dict[tuple[str, str, str], dict[int, RunMatches]] = {}
        for training, matches in self.found.items():
            key = training.data.name, training.recipe, training.labels
            runs.setdefault(key, {})[training.seed] = matches
        rows = []
        for data, recipe, labels in sorted(runs, key=self._order):
            reference = runs.get((data, recipe, self.reference), {})
            seeds = sorted(set(runs[data, recipe, labels]) & set(reference))
            if seeds:
                own = [runs[data, recipe, labels][seed] for seed in seeds]
                kept = _kept(recipe, seeds, [reference[seed] for seed in seeds], own)
                named = {"data": data, "recipe": recipe, "labels": labels}
                rows.append(named | self.quality[data, labels] | kept)
        return rows

    def text(self) -> str:
        """The rows for people, and which property of labels orders them as what they keep."""
        rows = self.rows()
        told = predictors([row for row in rows if row["labels"] != self.reference])
        tables = [markdown_table(part) for part in ([_texts(row) for row in rows], told) if part]
        return "\n\n".join(tables)

    def _order(self, key: tuple[str, str, str]) -> tuple[str, str, int]:
        return key[0], key[1], self.labels.index(key[2])


def _quality(data: Data, labels: Path) -> dict[str, float]:
    """Mean mask IoU and boundary IoU of the labels with the human masks; none counts 0."""
    objects = measure_agreement(labels, data.train.annotations).objects
    return {
        "mask_iou": fmean(one.mask_iou for one in objects),
        "boundary_iou": fmean(one.boundary_iou for one in objects),
    }


def predictors(rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Rank correlation of labels' properties with what segmenters keep of them.

    Args:
        rows: Of `Table.rows`, without the reference, which keeps all by definition.

    Returns:
        One row per data set and recipe with enough labels.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["data"], row["recipe"]), []).append(row)
    told = []
    for (data, recipe), group in groups.items():
        if len(group) < FEWEST_LABELS:
            continue
        line = {"data": data, "recipe": recipe, "labels": str(len(group))}
        for metric in ("AP", "APbnd"):
            for title, key in PROPERTIES.items():
                line[f"{metric} kept by {title}"] = _correlation(group, key, metric)
        told.append(line)
    return told


def _correlation(group: Sequence[dict[str, Any]], key: str, metric: str) -> str:
    pairs = [(row[key], row["kept"][metric]) for row in group if row["kept"][metric] is not None]
    if len(pairs) < FEWEST_LABELS:
        return "n/a"
    quality, kept = np.array(pairs).T
    found = rank_correlation(quality, kept)
    return "n/a" if found is None else f"{found:.2f}"


def _kept(
    recipe: str, seeds: Sequence[int], reference: Sequence[RunMatches], own: Sequence[RunMatches]
) -> dict[str, Any]:
    result = compare_arms(recipe, seeds, reference, own)
    rates, record = result.retention(), result.to_json()
    return {
        "seeds": list(seeds),
        "AP of each seed": [matches.metrics().ap for matches in own],
        "values": {metric: record["pseudo"][metric] for metric in METRICS},
        "kept": {metric: rates[metric] for metric in METRICS},
        "interval": {metric: record["interval"].get(metric) for metric in METRICS},
    }


def _texts(row: dict[str, Any]) -> dict[str, str]:
    line = {key: str(row[key]) for key in ("data", "recipe", "labels")}
    line["mask IoU"] = f"{row['mask_iou']:.3f}"
    line["boundary IoU"] = f"{row['boundary_iou']:.3f}"
    line["AP of each seed"] = ", ".join(f"{100 * ap:.1f}" for ap in row["AP of each seed"])
    line |= {metric: f"{100 * row['values'][metric]:.1f}" for metric in METRICS}
    for metric in METRICS:
        line[f"{metric} kept, %"] = percent(row["kept"][metric], row["interval"][metric])
    return line


def percent(rate: float | None, interval: Iterable[float] | None) -> str:
    """A ratio and its 95 % interval."""
    if rate is None:
        return "n/a"
    low, high = interval or (float("nan"), float("nan"))
    return f"{100 * rate:.1f} [{100 * low:.0f}, {100 * high:.0f}]"
