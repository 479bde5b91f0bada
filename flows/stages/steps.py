"""A stage and its visible results: what the verbs of `mal` and the tasks of the flow both do."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from flows.settings import composing
from flows.settings.run_config import RunConfig
from flows.stages import inputs, normal_form, publish, retention, stages
from flows.stages.run import Run, ShardRunner
from flows.stages.stages import Arm
from flows.store.local import Stored, copy_out
from flows.workers import devices
from flows.workers.arms import side_by_side
from mal_core.config import SegmenterConfig
from mal_core.evaluation.retention import RetentionReport
from mal_core.report import history

logger = logging.getLogger(__name__)

DIGITS_SHOWN = 6
ArmTraining = Callable[[Run, SegmenterConfig, Arm, int], None]


def open_run(
    config: RunConfig, *, force: Sequence[str] = (), shard_runner: ShardRunner | None = None
) -> Run:
    """Start a run: refuse impossible settings, leave the composed ones in the working folder.

    Args:
        config: All settings.
        force: Stages to compute again.
        shard_runner: Labels in shards; None knows threads only.

    Raises:
        ConfigError: An encoder or a recipe does not exist.
    """
    stages.check_settings(config)
    train = config.data.train
    sources = [config.boxes, *([] if train is None else [train.annotations, train.images])]
    publish.check_output(config.output, [path for path in sources if path is not None])
    publish.publish_config(composing.as_yaml(config), config.workdir)
    return Run(config, force=force, shard_runner=shard_runner)


def check(run: Run, *, need_val: bool) -> None:
    """Check the whole input and say what it holds."""
    for note in stages.read_check(stages.check(run, need_val=need_val))["notes"]:
        logger.info("%s", note)


def train_mal(run: Run) -> Stored:
    """Phase 1; leaves mal/checkpoint.pth in the working folder."""
    stored = stages.train_mal(run)
    publish.publish_labeler(stored, run.config.workdir)
    return stored


def generate_pseudo_labels(run: Run) -> str:
    """Label the training file; leaves labels/ in the working folder, or the chosen output.

    The labeler, where this run trains one, goes to mal/. Boxes that came in another format
    than COCO return in that format too.

    Returns:
        The accounting of boxes, one line; for a detector's boxes also their AP, where
        human masks exist.
    """
    if run.config.trains_labeler:
        train_mal(run)
    stored = stages.generate_pseudo_labels(run)
    labels, output = stored.path / "train.json", run.config.output
    native = normal_form.native_target(run)
    target = output or run.config.workdir / "labels" / (native or "train.json")
    if output is None:
        publish.publish_labels(stored, run.config.workdir)
    else:
        ledger = output.parent / "skipped.json"
        copy_out(stored.path / "skipped.json", ledger, stored.files["skipped.json"])
    if native:
        normal_form.write_native(run, labels, target)
    elif output is not None:
        copy_out(labels, output, stored.files["train.json"])
    scores = normal_form.detection_scores(run, target)
    return "\n".join([stages.accounting(stored).line(), *scores])


def train_segmenter(run: Run, recipe: SegmenterConfig, arm: Arm, seed: int) -> None:
    """Phase 2, one recipe on one arm's masks with one seed.

    Leaves segmenters/NAME/ARM, or segmenters/NAME/ARM/seed_N for the seeds after the first.
    """
    stored = stages.train_segmenter(run, recipe, arm, seed)
    extra = "" if seed == run.config.seeds[0] else f"seed_{seed}"
    publish.publish_segmenter(stored, run.config.workdir / "segmenters" / recipe.name / arm / extra)


def train_segmenters(run: Run, train_one: ArmTraining = train_segmenter) -> None:
    """Phase 2, all recipes on both arms with all seeds; `segmenter_jobs` side by side.

    Those that run at the same time have GPUs of their own.
    """
    inputs.require_large_images(run, stages.check(run, need_val=True))
    stages.generate_pseudo_labels(run)
    calls = [
        partial(train_one, run, recipe, arm, seed)
        for seed in run.config.seeds
        for recipe in run.config.segmenters
        for arm in stages.arms(run)
    ]
    config = run.config
    places = devices.slots(
        1 if config.num_nodes > 1 else config.segmenter_jobs,
        max(recipe.num_processes for recipe in config.segmenters),
        devices.visible_devices(),
    )
    side_by_side(devices.spread(calls, places), len(places))


def evaluate_retention(run: Run) -> RetentionReport:
    """Score both arms; leaves retention.json and report.html in the working folder.

    Trains, and publishes, what is not there yet.
    """
    stages.check(run, need_val=True)
    generate_pseudo_labels(run)
    train_segmenters(run)
    stored = retention.evaluate_retention(run)
    publish.publish_retention(stored, run.config.workdir)
    report = retention.read_report(stored)
    name = str(run.config.workdir)
    history.record(_history_file(run), report, run=name, data=_scored_data(run))
    return report


def earlier_evaluations(run: Run) -> Sequence[history.Evaluation]:
    """Of all runs with this store on the same validation data, this one last."""
    return history.read_history(_history_file(run), _scored_data(run))


def data_name(run: Run, *, scored: bool) -> str:
    """What a run's data is called where its results line up with those of other runs.

    It is `data.name`, or the annotation file's own name with the beginning of its digest:
    files of one name need not be the same data.

    Args:
        run: The run.
        scored: The data that segmenters are scored on; else the boxes to be labeled.
    """
    source = run.config.data
    if source.name is not None:
        return source.name
    given = source.val if scored else source.train
    title = source.source if given is None else given.annotations.stem
    labeled = stages.inputs(run).train
    digest = _scored_data(run) if scored else run.digests(labeled).annotations
    return f"{title}-{digest[:DIGITS_SHOWN]}"


def _history_file(run: Run) -> Path:
    return run.store.root / composing.HISTORY


def _scored_data(run: Run) -> str:
    return run.digests(stages.scored_split(run)).annotations
