"""The stage of phase 2: a segmenter trained on one arm's masks, as the store keeps it.

It asks the store for what it needs from the stages before it ([phase 1](phase1.py)).
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.stages.inputs import check, digest_inputs, inputs, read_check, val_split
from flows.stages.normal_form import in_utf8, normal_masks, one_class
from flows.stages.phase1 import generate_pseudo_labels
from flows.stages.run import Run
from flows.stages.trainings import Arm, Training
from flows.store.code_version import code_version, recipe_version
from flows.store.local import StageKey, Stored
from flows.store.stage_names import SEGMENT
from mal_core.config import SegmenterConfig, SplitConfig
from mal_core.config.roles import Role, deciding
from mal_core.processes.records import from_json

NO_THRESHOLD = 0.5
WEIGHING = ("phase2_configs.runner.weighted_data", "phase2_configs.runner.weighted_heads")
"""Modules that only a training with weights runs; its recipe names them, nothing imports them."""
MMDET = ("torch", "torchvision", "onedl-mmcv", "onedl-mmengine", "onedl-mmdetection")


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
    weighing = () if recipe.label_weights == "none" else WEIGHING
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
                *weighing,
            ],
            packages=MMDET,
        ),
    )


def _recipe_version(recipe: SegmenterConfig) -> str:
    from mal_core.jobs.segmenter import resolve_config

    config = resolve_config(recipe.config)
    # A config bundled with mmdet is versioned by mmdet, which is part of the code version.
    return config if "::" in config else recipe_version(Path(config))
