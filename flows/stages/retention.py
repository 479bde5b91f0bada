"""The last stage: score both arms of every segmenter, compare, and render the report."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.settings import composing
from flows.settings.run_config import RunConfig
from flows.stages import cards, inputs, phase1, phase2
from flows.stages.given_labels import ACCOUNTING
from flows.stages.run import Run
from flows.stages.trainings import ARM_TITLES, Arm, trainings
from flows.store.code_version import code_version
from flows.store.local import StageKey, Stored
from flows.store.manifest import read_manifest
from flows.store.stage_names import EVALUATE, GUIDE, LABEL, TRAIN
from mal_core.config.labelers import LabelerConfig, MemberConfig
from mal_core.config.roles import Role, settings_of
from mal_core.evaluation.costs import ESTIMATE, Cost, StageCost, estimate_and_truth
from mal_core.evaluation.retention import (
    RetentionReport,
    SecondRuler,
    SegmenterResult,
    report_from_json,
)
from mal_core.processes.files import write_json
from mal_core.processes.records import read_record

if TYPE_CHECKING:  # the report draws plots: matplotlib
    from mal_core.evaluation.compared_arms import RunMatches
    from mal_core.report.page import ReportSources

CONFIG, PREDICTIONS = "config.py", "predictions.json"
NO_HARDWARE = {"device": "CPU", "devices": 1}
"""Of a stage that computes nothing, such as labels that were given."""
Trained = Mapping[tuple[str, Arm, int], Stored]


def evaluate_retention(run: Run) -> Stored:
    """Leaves retention.json and report.html."""
    inputs.check(run, need_val=True)
    labels = phase1.generate_pseudo_labels(run)
    trained = {one.key: phase2.train_segmenter(run, one) for one in trainings(run)}
    shown = shown_settings(run.config)

    def work(folder: Path) -> None:
        from mal_core.report.page import ReportSources

        report = _build(run, labels, trained, shown)
        write_json(folder / "retention.json", report.to_json(), indent=1)
        first = run.config.seeds[0]
        diffs = _config_diffs(trained, first)
        for name, diff in diffs.items():
            (folder / diff_file(name)).write_text(diff)
        train = inputs.inputs(run).train
        sources = ReportSources(
            labeled=labels.path / "train.json",
            human=train.annotations,
            images=train.images,
            mal_scalars=_mal_scalars(run),
            curves=_files_of(trained, first, "scalars.jsonl"),
            val_annotations=phase2.scored_split(run).annotations,
            val_images=phase2.scored_split(run).images,
            predictions=_files_of(trained, first, PREDICTIONS),
            config_diffs=diffs,
            settings=composing.to_yaml(shown),
        )
        render(report, sources, folder / "report.html")

    key = StageKey(
        stage=EVALUATE,
        config=shown,
        inputs=_key_inputs(run, labels, trained),
        code=code_version(
            [
                "mal_core.evaluation.scores",
                "mal_core.evaluation.compared_arms",
                "mal_core.report.page",
            ],
            packages=["numpy", "pycocotools", "matplotlib", "jinja2"],
        ),
    )
    return run.get(key, work)


def _files_of(trained: Trained, seed: int, file: str) -> dict[tuple[str, str], Path]:
    return {
        (name, arm): stored.path / file
        for (name, arm, number), stored in trained.items()
        if number == seed
    }


def _mal_scalars(run: Run) -> Path | None:
    """The training curve of the labeler: of this run, or beside a given one; else there is none."""
    if run.config.trains_labeler:
        return phase1.train_mal(run).path / "scalars.jsonl"
    return given_curve(run.config)


def given_curve(config: RunConfig) -> Path | None:
    """Where the training curve of a given checkpoint would lie; None: none is given."""
    return None if config.checkpoint is None else config.checkpoint.parent / "scalars.jsonl"


def _key_inputs(run: Run, labels: Stored, trained: Trained) -> dict[str, str]:
    train, val = inputs.inputs(run).train, phase2.scored_split(run)
    ruler, scalars = phase2.second_ruler(run), _mal_scalars(run)
    found = {
        "train.annotations": run.digests(train).annotations,
        "train.images": run.digests(train).images,
        **inputs.digest_inputs(run, {"val": val}),
        "second_ruler": "" if ruler is None else str(run.store.digests.digest(ruler)),
        "labels": labels.files["train.json"],
        "estimate": str(run.store.digests.digest(_estimate_file(run))),
        "accounting": labels.files[ACCOUNTING],
        "mal.scalars": "" if scalars is None else str(run.store.digests.digest(scalars)),
    }
    for (name, arm, seed), stored in trained.items():
        for file in (PREDICTIONS, "scalars.jsonl", CONFIG):
            found[f"{name}.{arm}.{seed}.{file}"] = stored.files[file]
    return found


def _build(run: Run, labels: Stored, trained: Trained, shown: Mapping[str, Any]) -> RetentionReport:
    from mal_core.evaluation.scores import drift, label_quality, score_histogram

    ruler, accounting = phase2.second_ruler(run), phase1.accounting(labels)
    file = run.config.second_ruler
    return RetentionReport(
        segmenters=_compared(run, trained, phase2.scored_split(run).annotations),
        quality=label_quality(labels.path / "train.json", inputs.inputs(run).train.annotations),
        accounting=accounting,
        context={
            **_context(run.config, shown),
            **_provenance(run, labels),
            **drift(labels.path / "train.json"),
            **estimate_and_truth(_estimate_file(run), list(_costs(run, labels, trained))),
        },
        second=None
        if ruler is None or file is None
        else SecondRuler(file=file.name, segmenters=_compared(run, trained, ruler)),
        scores=score_histogram(labels.path / "train.json"),
        cost=Cost(
            stages=tuple(_costs(run, labels, trained)),
            masks=accounting.masks,
            seconds_per_mask=run.config.seconds_per_mask,
        ),
    )


def _compared(run: Run, trained: Trained, annotations: Path) -> tuple[SegmenterResult, ...]:
    from mal_core.data.coco import drop_mask, parse_coco
    from mal_core.data.crowding import measure_reach
    from mal_core.evaluation.compared_arms import compare_arms, match_run, with_published
    from mal_core.jobs.segmenter import DETECTIONS_FILE, KeptDetections

    seeds = run.config.seeds
    truth = parse_coco(annotations, drop_mask)
    matches = {
        key: match_run(annotations, stored.path / PREDICTIONS) for key, stored in trained.items()
    }

    def of(name: str, arm: Arm) -> "list[RunMatches]":
        return [matches[name, arm, seed] for seed in seeds if (name, arm, seed) in matches]

    results = []
    for recipe in run.config.segmenters:
        result = compare_arms(
            recipe.name, seeds, of(recipe.name, "human"), of(recipe.name, "pseudo")
        )
        if run.config.human_arm == "published" and recipe.published_ap is not None:
            result = with_published(result, recipe.published_ap)
        first = trained[recipe.name, "pseudo", seeds[0]]
        kept = read_record(KeptDetections, first.path / DETECTIONS_FILE).per_image
        results.append(dataclasses.replace(result, reach=measure_reach(truth, kept)))
    return tuple(results)


def _costs(run: Run, labels: Stored, trained: Trained) -> Iterator[StageCost]:
    stored = {} if run.config.guide is None else {GUIDE: phase1.guide_labels(run)}
    if run.config.trains_labeler:
        stored[TRAIN] = phase1.train_mal(run)
    stored[LABEL] = labels
    for (name, arm, seed), one in trained.items():
        stored[f"{name}, {ARM_TITLES[arm]}, seed {seed}"] = one
    for title, one in stored.items():
        hardware = one.path / "hardware.json"
        known = json.loads(hardware.read_text()) if hardware.is_file() else NO_HARDWARE
        hours = read_manifest(one.path).seconds / 3600
        yield StageCost(stage=title, hours=hours, **known)


def _estimate_file(run: Run) -> Path:
    return run.config.workdir / ESTIMATE


def _provenance(run: Run, labels: Stored) -> dict[str, str]:
    """Licences of what the labels are made of, and what phase 1 has read."""
    card, reads = cards.label_card(run), cards.reads(run, labels, "labels")
    strictest = card.strictest
    return {
        "commercial use": card.commercial,
        "strictest licence": "none" if strictest is None else strictest.name,
        **{f"read in {name}": one.line() for name, one in reads.items()},
    }


def _context(config: RunConfig, shown: Mapping[str, Any]) -> dict[str, str]:
    return {
        "encoder": _encoder(config),
        "phase 1": _phase_1(config, shown),
        "data": "drawn scenes" if shown["data"]["source"] == "scenes" else "the user's files",
        "classes in phase 2": "one" if shown["data"]["class_agnostic"] else "those of the data",
        "seeds of phase 2": ", ".join(map(str, shown["segmenter_seeds"] or [shown["seed"]])),
        "seed": str(shown["seed"]),
        **{f"phase 2, {one['name']}": _phase_2(one) for one in shown["segmenters"]},
    }


def _encoder(config: RunConfig) -> str:
    """That of our own network, where it draws; a given one has what its checkpoint says."""
    if not config.trains_labeler:
        return "none" if config.checkpoint is None else "that of the given checkpoint"
    encoder = config.encoder
    downloaded = "timm's, from the hub" if encoder.pretrained else "random"
    weights = downloaded if encoder.weights is None else encoder.weights.name
    return f"{encoder.name}, weights: {weights}"


def _phase_2(recipe: Mapping[str, Any]) -> str:
    """The budget of a recipe; what it does not say is the recipe file's own."""
    steps, batch, size = recipe["max_steps"], recipe["batch_size"], recipe["image_size"]
    return ", ".join(
        (
            f"{steps} steps" if steps else "the recipe's steps",
            f"batches of {batch} images" if batch else "the recipe's batches",
            f"longer side {size} px" if size else "the recipe's image size",
            f"backbone weights: {recipe['weights'] or 'random'}",
        )
    )


def _phase_1(config: RunConfig, shown: Mapping[str, Any]) -> str:
    if config.pseudo_labels is not None:
        return f"none: labels from {shown['pseudo_labels']}"
    told = _told_labeler(config.labeler)
    if config.checkpoint is not None:
        return f"none: masks of {told}, of the given checkpoint"
    if not config.trains_labeler:
        return f"none: masks of {told}"
    mal, drawn = shown["mal"], config.guide
    named = mal["guide"] if drawn is None else _told_labeler(drawn)
    guide = "" if named is None else f", guided by the masks of {named}"
    heard = "" if config.labeler.name == "mal" else f"; masks of {told}"
    steps = f"{mal['max_steps']} steps of {mal['batch_size']} crops of {mal['crop_size']} px"
    return f"{steps}{guide}{heard}"


def _told_labeler(labeler: MemberConfig) -> str:
    """A labeler by its name, with what it draws with or who is heard."""
    members = labeler.members if isinstance(labeler, LabelerConfig) else ()
    weights = "" if labeler.weights is None else _name(labeler.weights)
    detail = ", ".join(map(_told_labeler, members)) or weights
    return f"{labeler.name} ({detail})" if detail else labeler.name


def shown_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that a report shows: all that decide it, without places on this machine."""
    config = dataclasses.replace(
        config,
        mal=config.on_all_nodes(config.mal),
        segmenters=tuple(config.on_all_nodes(recipe) for recipe in config.segmenters),
    )
    return _shown(RunConfig, composing.plain(config))


def _shown(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for setting in settings_of(kind):
        value = values[setting.key]
        if Role.NAMED in setting.roles:
            shown[setting.key] = None if value is None else _name(value)
        elif setting.is_path or Role.OPERATION in setting.roles:
            continue
        elif setting.records is not None:
            shown[setting.key] = [_shown(setting.records, one) for one in value]
        elif setting.record is not None and value is not None:
            shown[setting.key] = _shown(setting.record, value)
        else:
            shown[setting.key] = value
    return shown


def _name(place: str) -> str:
    return Path(place).name if Path(place).is_absolute() else place  # mmdet::NAME is no place


def render(report: RetentionReport, sources: "ReportSources", output: Path) -> None:
    """Write report.html; the gallery's numbers are measured again."""
    from mal_core.evaluation.scores import label_quality
    from mal_core.report.page import write_report

    write_report(report, label_quality(sources.labeled, sources.human), sources, output)


def diff_file(segmenter: str) -> str:
    """Name of the file that shows what differs between the mmdet configs of both arms."""
    return f"{segmenter}.config.diff"


def _config_diffs(trained: Trained, seed: int) -> dict[str, str]:
    from mal_core.jobs.segmenter import config_diff

    return {
        name: config_diff(trained[name, "human", seed].path / CONFIG, stored.path / CONFIG)
        for (name, arm, number), stored in trained.items()
        if arm == "pseudo" and number == seed and (name, "human", seed) in trained
    }


def read_report(stored: Stored) -> RetentionReport:
    """The report of a finished evaluation."""
    return report_from_json(json.loads((stored.path / "retention.json").read_text()))
