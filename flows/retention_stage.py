"""The last stage: score both arms of every segmenter, compare, and render the report."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import settings, stages
from flows.code_version import code_version
from flows.run import Run
from flows.run_config import RunConfig
from flows.stages import EVALUATE, Arm
from flows.store import StageKey, Stored
from mal_core.artifacts import write_json
from mal_core.config import OPERATION_KEYS
from mal_core.retention import RetentionReport, report_from_json

if TYPE_CHECKING:  # the report draws plots: matplotlib
    from mal_core.report import ReportSources
    from mal_core.twins import RunMatches

CONFIG = "config.py"
PLACES = (
    "workdir",
    "store",
    "output",
    "checkpoint",
    "segmenter_jobs",
    "boxes",
    "labels",
    "human",
    "images",
)
"""Settings that say where and how, and have no place in a report of what came out."""
Trained = Mapping[tuple[str, Arm, int], Stored]


def evaluate_retention(run: Run) -> Stored:
    """Leaves retention.json and report.html."""
    stages.check(run, need_val=True)
    labels = stages.generate_pseudo_labels(run)
    trained = {
        (recipe.name, arm, seed): stages.train_segmenter(run, recipe, arm, seed)
        for recipe in run.config.segmenters
        for arm in stages.arms(run)
        for seed in run.config.seeds
    }
    shown = shown_settings(run.config)

    def work(folder: Path) -> None:
        from mal_core.report import ReportSources

        report = _build(run, labels, trained, shown)
        write_json(folder / "retention.json", report.to_json(), indent=1)
        first = run.config.seeds[0]
        diffs = _config_diffs(trained, first)
        for name, diff in diffs.items():
            (folder / diff_file(name)).write_text(diff)
        train = stages.inputs(run).train
        sources = ReportSources(
            labeled=labels.path / "train.json",
            human=train.annotations,
            images=train.images,
            mal_scalars=_mal_scalars(run),
            curves={
                (name, arm): stored.path / "scalars.jsonl"
                for (name, arm, seed), stored in trained.items()
                if seed == first
            },
            config_diffs=diffs,
            settings=settings.to_yaml(shown),
        )
        render(report, sources, folder / "report.html")

    key = StageKey(
        stage=EVALUATE,
        config=shown,
        inputs=_key_inputs(run, labels, trained),
        code=code_version(
            ["mal_core.evaluation", "mal_core.twins", "mal_core.report"],
            packages=["numpy", "pycocotools", "matplotlib", "jinja2"],
        ),
    )
    return run.get(key, work)


def _mal_scalars(run: Run) -> Path:
    # A run with a given checkpoint has no training curve of its own.
    if run.config.checkpoint is not None:
        return run.config.checkpoint.parent / "scalars.jsonl"
    if run.config.pseudo_labels is not None:
        return run.config.pseudo_labels.parent / "no-training"
    return stages.train_mal(run).path / "scalars.jsonl"


def _key_inputs(run: Run, labels: Stored, trained: Trained) -> dict[str, str]:
    train, val = stages.inputs(run).train, stages.scored_split(run)
    found = {
        "train.annotations": run.digests(train).annotations,
        "train.images": run.digests(train).images,
        "val.annotations": run.digests(val).annotations,
        "labels": labels.files["train.json"],
        "accounting": labels.files[stages.ACCOUNTING],
        "mal.scalars": str(run.store.digests.digest(_mal_scalars(run))),
    }
    for (name, arm, seed), stored in trained.items():
        for file in ("predictions.json", "scalars.jsonl", "config.py"):
            found[f"{name}.{arm}.{seed}.{file}"] = stored.files[file]
    return found


def _build(run: Run, labels: Stored, trained: Trained, shown: Mapping[str, Any]) -> RetentionReport:
    from mal_core.evaluation import label_quality
    from mal_core.twins import compare_twins, match_run

    val, seeds = stages.scored_split(run).annotations, run.config.seeds
    matches = {
        key: match_run(val, stored.path / "predictions.json") for key, stored in trained.items()
    }

    def of(name: str, arm: Arm) -> "list[RunMatches]":
        return [matches[name, arm, seed] for seed in seeds if (name, arm, seed) in matches]

    return RetentionReport(
        segmenters=tuple(
            compare_twins(name, seeds, of(name, "human"), of(name, "pseudo"))
            for name in (recipe.name for recipe in run.config.segmenters)
        ),
        quality=label_quality(labels.path / "train.json", stages.inputs(run).train.annotations),
        accounting=stages.accounting(labels),
        context=_context(shown),
    )


def _context(shown: Mapping[str, Any]) -> dict[str, str]:
    encoder = shown["encoder"]
    weights = encoder["weights"] or ("timm's, from the hub" if encoder["pretrained"] else "random")
    return {
        "encoder": f"{encoder['name']}, weights: {weights}",
        "phase 1": _phase_1(shown),
        "data": "drawn scenes" if shown["data"]["source"] == "scenes" else "the user's files",
        "classes in phase 2": "one" if shown["data"]["class_agnostic"] else "those of the data",
        "seeds of phase 2": ", ".join(map(str, shown["segmenter_seeds"] or [shown["seed"]])),
        "seed": str(shown["seed"]),
    }


def _phase_1(shown: Mapping[str, Any]) -> str:
    if shown["pseudo_labels"] is not None:
        return f"none: labels from {shown['pseudo_labels']}"
    mal = shown["mal"]
    return f"{mal['max_steps']} steps of {mal['batch_size']} crops of {mal['crop_size']} px"


def shown_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that a report shows: all that decide it, without places on this machine."""
    shown = {key: value for key, value in settings.plain(config).items() if key not in PLACES}
    shown["data"] = {k: v for k, v in shown["data"].items() if k not in ("train", "val")}
    if shown["pseudo_labels"] is not None:
        shown["pseudo_labels"] = Path(shown["pseudo_labels"]).name
    for part in (shown["encoder"], *shown["segmenters"]):
        part["weights"] = Path(part["weights"]).name if part["weights"] else None
    for part in (shown["mal"], *shown["segmenters"]):
        for key in OPERATION_KEYS:
            part.pop(key, None)
    return shown


def render(report: RetentionReport, sources: "ReportSources", output: Path) -> None:
    """Write report.html; the gallery's numbers are measured again."""
    from mal_core.evaluation import label_quality
    from mal_core.report import write_report

    write_report(report, label_quality(sources.labeled, sources.human), sources, output)


def diff_file(segmenter: str) -> str:
    """Name of the file that shows what differs between the mmdet configs of both arms."""
    return f"{segmenter}.config.diff"


def _config_diffs(trained: Trained, seed: int) -> dict[str, str]:
    from mal_core.segmenters import config_diff

    return {
        name: config_diff(trained[name, "human", seed].path / CONFIG, stored.path / CONFIG)
        for (name, arm, number), stored in trained.items()
        if arm == "pseudo" and number == seed and (name, "human", seed) in trained
    }


def read_report(stored: Stored) -> RetentionReport:
    """The report of a finished evaluation."""
    return report_from_json(json.loads((stored.path / "retention.json").read_text()))
