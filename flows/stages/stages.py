"""The stages: functions of one run whose output lies in the store.

A stage asks the store for what it needs from the stages before it, so any of them can
be called first; what is there already is verified and reused.
"""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.settings.run_config import RunConfig
from flows.stages import drawing
from flows.stages.given_labels import ACCOUNTING, counts_of, given_labels
from flows.stages.inputs import check, check_guide, digest_inputs, inputs, read_check, val_split
from flows.stages.normal_form import in_utf8, normal_masks, one_class
from flows.stages.run import Run
from flows.stages.trainings import Arm, Training
from flows.store.code_version import code_version, recipe_version
from flows.store.local import StageKey, Stored
from flows.store.stage_names import BOXES, LABEL, SEGMENT, TRAIN
from mal_core.config import (
    SegmenterConfig,
    SplitConfig,
)
from mal_core.config.roles import Role, deciding
from mal_core.errors import ConfigError, told_of
from mal_core.evaluation.retention import Accounting
from mal_core.models.encoder_names import check_encoder_name
from mal_core.processes.files import write_json
from mal_core.processes.records import from_json, read_record

logger = logging.getLogger(__name__)

TORCH = drawing.TORCH
NO_THRESHOLD = 0.5
MMDET = ("torch", "torchvision", "onedl-mmcv", "onedl-mmengine", "onedl-mmdetection")


def boxes(run: Run) -> Stored:
    """The training annotations without masks: all that phase 1 may read."""
    train, config = inputs(run).train, run.config
    noisy = config.data.box_noise > 0
    noise: Any = {"box_noise": config.data.box_noise, "seed": config.seed} if noisy else {}

    def work(folder: Path) -> None:
        from mal_core.data.coco import strip_masks

        strip_masks(train.annotations, folder / "boxes.json", **noise)

    key = StageKey(
        stage=BOXES,
        config=noise,
        inputs={"train.annotations": run.digests(train).annotations},
        code=code_version(["mal_core.data.coco"]),
    )
    return run.get(key, work)


def train_mal(run: Run) -> Stored:
    """Phase 1: train the labeler on boxes; leaves checkpoint.pth, scalars.jsonl, train.log.

    Raises:
        ConfigError: The labeler of this run is another one.
    """
    if not run.config.labeler.is_trained:
        message = (
            f"labeler={run.config.labeler.name} needs no training on your boxes: `mal label` "
            "labels them at once."
        )
        raise ConfigError(message)
    check(run, need_val=False)
    train, stripped = inputs(run).train, boxes(run)
    config, given = run.config, run.config.mal.guide
    guide = None if given is None else in_utf8(run, given)

    def work(folder: Path) -> None:
        from mal_core.jobs.phase1 import TrainJob, train_in_child

        check_guide(run)  # the child would say the same, in the middle of its log
        mal = dataclasses.replace(config.on_all_nodes(config.mal), guide=guide)
        job = TrainJob(
            images=train.images,
            boxes=stripped.path / "boxes.json",
            strict=config.data.strict,
            encoder=config.encoder,
            mal=mal,
            seed=config.seed,
            output_dir=folder,
        )
        train_in_child(job)

    with told_of({} if given is None or guide is None else {guide: given}):
        return run.get(_train_key(run, stripped, train, guide), work)


def _train_key(run: Run, stripped: Stored, train: SplitConfig, guide: Path | None) -> StageKey:
    config = run.config
    guided = {} if guide is None else {"guide": str(run.store.digests.digest(guide))}
    encoder = {**deciding(config.encoder, Role.TRAINING), "weights": _weights_digest(run)}
    return StageKey(
        stage=TRAIN,
        config={
            "encoder": encoder,
            "mal": deciding(config.on_all_nodes(config.mal), Role.TRAINING),
            "seed": config.seed,
        },
        # Digests of the stripped file, not of the user's: no mask can influence phase 1 but those
        # of a guide that the settings name.
        inputs={
            **guided,
            "boxes": stripped.files["boxes.json"],
            "train.images": run.digests(train).images,
        },
        code=code_version(
            ["mal_core.training.loop", "mal_core.data.coco"],
            alone=["mal_core.jobs.worker", "mal_core.jobs.phase1"],
            packages=TORCH,
        ),
    )


def _weights_digest(run: Run) -> str | None:
    path = run.config.encoder.weights
    return None if path is None else run.store.digests.digest(path)


def check_settings(config: RunConfig) -> None:
    """Refuse an encoder that timm does not have, a recipe or a runner that cannot work.

    Raises:
        ConfigError: The message names similar ones.
        CheckpointError: A segmenter's file of weights is none; phase 1 would train before it.
    """
    from flows.stages.label_runners import check_label_runner
    from mal_core.jobs.segmenter import resolve_config

    check_label_runner(config)
    drawing.check_labeler(config)
    if config.trains_labeler:
        check_encoder_name(config.encoder.name)
    for recipe in config.segmenters:
        resolve_config(recipe.config)
    for weights in {recipe.weights for recipe in config.segmenters}:
        if weights is not None and Path(weights).is_absolute():
            from mal_core.models.safe_weights import read_weights  # torch: only for a file

            read_weights(weights, f"segmenter.weights={weights}")


def generate_pseudo_labels(run: Run) -> Stored:
    """Label every box of the training file; leaves train.json and skipped.json.

    Uses the labels, the checkpoint or the labeler that the settings name, else the network that
    this run trains.
    """
    check(run, need_val=False)
    if run.config.pseudo_labels is not None:
        return given_labels(run, inputs(run).train, run.config.pseudo_labels)
    train, config = inputs(run).train, run.config
    drawer, stripped = drawing.find_drawer(run, labeler_checkpoint), boxes(run)

    def work(folder: Path) -> None:
        from flows.stages.label_runners import label
        from mal_core.data.pseudo_labels import restore_crowds
        from mal_core.jobs.phase1 import LabelJob

        job = LabelJob(
            images=train.images,
            annotations=stripped.path / "boxes.json",
            strict=config.data.strict,
            checkpoint=drawer.checkpoint,
            mal=config.mal,
            labeler=drawer.labeler,
            output=folder / "train.json",
            ledger=folder / "skipped.json",
            side_by_side=config.labelers_side_by_side,
        )
        counts = counts_of(label(run, job))
        # The child has seen no mask, not even that of a crowd.
        if run.view(train.annotations).num_crowds:
            restore_crowds(job.output, train.annotations)
        write_json(folder / ACCOUNTING, counts)

    key = StageKey(
        stage=LABEL,
        config=drawer.settings,
        inputs={
            **drawer.inputs,
            "boxes": stripped.files["boxes.json"],
            **digest_inputs(run, {"train": train}),
        },
        code=drawer.code,
    )
    return run.get(key, work)


def accounting(stored: Stored) -> Accounting:
    """Where every box went."""
    return read_record(Accounting, stored.path / ACCOUNTING)


def labeler_checkpoint(run: Run) -> tuple[Path, str]:
    """Our own network and its digest: the one that the settings name, else trained in this run.

    Raises:
        ConfigError: The one that the settings name cannot be read.
    """
    chosen = run.config.checkpoint
    if chosen is None:
        trained = train_mal(run)
        return trained.path / "checkpoint.pth", trained.files["checkpoint.pth"]
    digest = run.store.digests.digest(chosen)
    if digest is None:
        message = f"checkpoint={chosen}: no such file, or it cannot be read."
        raise ConfigError(message)
    return chosen, digest


def train_annotations(run: Run, arm: Arm) -> tuple[Path, str]:
    """Annotation file of an arm and its digest."""
    train = inputs(run).train
    if arm == "human":
        path, digest = normal_masks(run, train.annotations)
    else:
        labels = generate_pseudo_labels(run)
        path, digest = normal_masks(run, labels.path / "train.json", labels.files["train.json"])
    if not run.config.data.class_agnostic:
        return path, digest
    merged = one_class(run, path)
    return merged.path / "merged.json", merged.files["merged.json"]


def second_ruler(run: Run) -> Path | None:
    """The second annotation file of the validation images as phase 2 sees it, if there is one."""
    ruler = run.config.second_ruler
    if ruler is None:
        return None
    ruler, _ = normal_masks(run, in_utf8(run, ruler))
    if not run.config.data.class_agnostic:
        return ruler
    return one_class(run, ruler).path / "merged.json"


def scored_split(run: Run) -> SplitConfig:
    """The validation split as phase 2 sees it: with its classes, or with one."""
    val = val_split(run)
    annotations, _ = normal_masks(run, val.annotations)
    if run.config.data.class_agnostic:
        annotations = one_class(run, annotations).path / "merged.json"
    return SplitConfig(images=val.images, annotations=annotations)


def train_segmenter(run: Run, training: Training) -> Stored:
    """Phase 2: train one segmenter on one arm's masks and let it predict the val images."""
    train, val = inputs(run).train, scored_split(run)
    recipe, seed = _recipe(run, training), training.seed
    annotations, digest = train_annotations(run, training.arm)
    known = read_check(check(run, need_val=True))
    objects = {"most_objects": known["most_objects"], "sizes": known["object_sizes"]}

    def work(folder: Path) -> None:
        from flows.workers.side_by_side import train_arm
        from mal_core.data.object_sizes import ObjectSizes
        from mal_core.jobs.segmenter import SegmenterJob

        split = SplitConfig(images=train.images, annotations=annotations)
        found = objects["sizes"]
        sizes = None if found is None else from_json(ObjectSizes, found, "check.json")
        fullest = int(objects["most_objects"])
        job = SegmenterJob(
            recipe=recipe, train=split, val=val, seed=seed, most_objects=fullest, sizes=sizes
        )
        train_arm(job, folder=folder, title=training.masks)
        # The dumped config names the folder of the attempt; it must name the final one.
        config = folder / "config.py"
        config.write_text(config.read_text().replace(str(folder), str(run.store.folder(key))))

    key = _segmenter_key(run, recipe, digest, seed, objects)
    seeds = len(run.config.seeds)
    title = training.title if seeds > 1 else f"{recipe.name} on {training.masks}"
    return run.get(key, work, title=f"{SEGMENT}: {title}")


def _recipe(run: Run, training: Training) -> SegmenterConfig:
    """What decides a training: human masks all count alike, and a threshold only where it cuts."""
    recipe = run.config.on_all_nodes(training.recipe)
    how = recipe.label_weights if training.arm == "pseudo" else "none"
    threshold = recipe.label_threshold if how == "threshold" else NO_THRESHOLD
    return dataclasses.replace(recipe, label_weights=how, label_threshold=threshold)


def _segmenter_key(
    run: Run, recipe: SegmenterConfig, annotations: str, seed: int, objects: Mapping[str, Any]
) -> StageKey:
    train = inputs(run).train
    weights = recipe.weights
    if weights is not None and Path(weights).is_absolute():
        weights = run.store.digests.digest(Path(weights))
    return StageKey(
        stage=SEGMENT,
        config={
            **deciding(recipe, Role.SEGMENTING),
            "weights": weights,
            "seed": seed,
            **objects,
        },
        inputs={
            "train.annotations": annotations,
            "train.images": run.digests(train).images,
            **digest_inputs(run, {"val": scored_split(run)}),
            "recipe": _recipe_version(recipe),
        },
        code=code_version(
            [
                "mal_core.jobs.segmenter",
                "phase2_configs.runner.train",
                "phase2_configs.mmcv_compat.mmcv_ops",
            ],
            packages=MMDET,
        ),
    )


def _recipe_version(recipe: SegmenterConfig) -> str:
    from mal_core.jobs.segmenter import resolve_config

    config = resolve_config(recipe.config)
    # A config bundled with mmdet is versioned by mmdet, which is part of the code version.
    return config if "::" in config else recipe_version(Path(config))
