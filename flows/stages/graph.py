"""The stages as a graph: check -> boxes -> train -> label -> segment -> evaluate, and predict.

Before check, and between label and segment, stand those that make the input plain.

One record per stage. Whoever goes through stages (`mal run` and its single stages, `--force`,
`mal cache why`, sweeps, the Prefect flows) walks these records.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from flows.settings import composing
from flows.settings.run_config import RunConfig, SegmenterChanges
from flows.stages import (
    images,
    inputs,
    normal_form,
    phase1,
    phase2,
    predict,
    results,
    retention,
    targets,
)
from flows.stages.run import Run
from flows.stages.trainings import Training, trainings
from flows.store.local import Stored
from flows.store.stage_names import (
    BOXES,
    CHECK,
    EVALUATE,
    GUIDE,
    IMAGES,
    LABEL,
    NORMAL_FORM,
    NORMAL_MASKS,
    ONE_CLASS,
    OVERLAP,
    PREDICT,
    SCENES,
    SEGMENT,
    TRAIN,
)
from flows.workers import devices
from flows.workers.side_by_side import side_by_side
from mal_core.config.roles import EFFECTS, Role, all_settings


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a stage asks the store for: once, or once for each training of phase 2.

    Attributes:
        title: Of the work, as the dashboard shows it.
        name: Of the output, as `mal cache why` shows it.
        ask: Gives the output, from the store or computed.
        publish: Makes it visible in the working folder; gives what there is to say of it.
    """

    title: str
    name: str
    ask: Callable[[], Stored]
    publish: Callable[[Stored], Any]

    def do(self) -> Any:
        """Ask for the output and publish it."""
        return self.publish(self.ask())


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a stage is called, reads, decides, does and leaves.

    Attributes:
        name: In the store, in flows and for `--force`.
        through: A stage that it has do its work, with settings of its own.
        title: What it does.
        inputs: Stages whose output it reads.
        files: Settings that name files it reads.
        decided_by: Effect of the settings in its key that are in none of its inputs' keys.
        record: Record of settings that is for it alone; those in it decide no other stage.
        work: Gives its output, from the store or computed; of a run, and of a training where
            there is one output for each.
        publish: Makes that output visible; gives what there is to say of it.
        brings: Inputs that become visible with it.
        per_file: Who reads it asks for its outputs, where there is need: one for each file or
            pair of splits. No walk does.
        per_training: It has one output for each recipe, arm and seed.
        at_once: Its outputs are made side by side.
        scored: It needs images to score segmenters on.
        on_gpu: It trains or labels: a limit on the dashboard counts its tasks.
        prepare: What must be right before its inputs are computed.
        quick: It takes seconds: it reads the input and trains nothing.
        shown: Its part of the dashboard, if it has one.
    """

    name: str
    title: str
    inputs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    decided_by: Role
    record: str | None = None
    work: Callable[..., Any]
    through: str | None = None
    publish: Callable[..., Any] = results.publish_nothing
    brings: tuple[str, ...] = ()
    per_file: bool = False
    per_training: bool = False
    at_once: bool = False
    scored: bool = False
    on_gpu: bool = False
    prepare: Callable[[Run], Any] | None = None
    quick: bool = False
    shown: str | None = None

    @property
    def required(self) -> tuple[str, ...]:
        """Settings without a default that a run up to it needs."""
        unscored = () if self.scored else ("data.val",)
        return composing.files_of(*(file for file in self.files if file not in unscored))

    @property
    def settings(self) -> tuple[str, ...]:
        """Full names of the settings whose change makes this the first stage to run again."""
        found = (*all_settings(RunConfig), *all_settings(SegmenterChanges, "segmenter."))
        effect, reserved = {self.decided_by}, {stage.record for stage in STAGES}

        def record_of(key: str) -> str | None:
            record, dot, _ = key.partition(".")
            return record if dot and record in reserved else None

        return tuple(
            one.key
            for one in found
            if one.roles & EFFECTS == effect and record_of(one.key) == self.record
        )

    def jobs(self, run: Run) -> tuple[Job, ...]:
        """Its outputs in this run, in the order in which they are made."""
        if not self.per_training:
            return (self._job(run, self.title, self.name),)
        return tuple(
            self._job(
                run,
                f"{self.title} {one.recipe.name} on {one.arm} masks, seed {one.seed}",
                f"{self.name}: {one.title}",
                one,
            )
            for one in trainings(run)
        )

    def _job(self, run: Run, title: str, name: str, *training: Training) -> Job:
        ask, show = partial(self.work, run, *training), partial(self.publish, run, *training)
        return Job(title=title, name=name, ask=ask, publish=show)


def _shared_images(run: Run) -> Any:
    from flows.stages import examining  # OpenCV: only for `mal check`

    return list(examining.shared_images(run))


STAGES = (
    Stage(
        name=SCENES,
        title="draw scenes",
        decided_by=Role.DATA,
        work=inputs.drawn,
        per_file=True,
        quick=True,
    ),
    Stage(
        name=NORMAL_FORM,
        title="turn annotations into COCO files",
        inputs=(SCENES,),
        files=("data.train", "data.val", "boxes"),
        decided_by=Role.DATA,
        work=normal_form.normal_form,
        per_file=True,
        quick=True,
    ),
    Stage(
        name=IMAGES,
        title="turn images into ordinary ones",
        inputs=(NORMAL_FORM,),
        files=("data.train", "data.val", "data.test"),
        decided_by=Role.DATA,
        work=images.plain_images,
        per_file=True,
        quick=True,
    ),
    Stage(
        name=CHECK,
        title="check the input",
        inputs=(IMAGES,),
        files=("data.train", "data.val", "second_ruler"),
        decided_by=Role.DATA,
        work=inputs.check_all,
        publish=results.say_notes,
        quick=True,
    ),
    Stage(
        name=OVERLAP,
        title="find images of both splits",
        inputs=(IMAGES,),
        files=("data.train", "data.val"),
        decided_by=Role.DATA,
        work=_shared_images,
        per_file=True,
    ),
    Stage(
        name=BOXES,
        title="take boxes without masks",
        inputs=(CHECK,),
        files=("data.train",),
        decided_by=Role.DATA,
        work=phase1.boxes,
        quick=True,
    ),
    Stage(
        name=GUIDE,
        title="have the guide draw",
        inputs=(CHECK, BOXES),
        files=("data.train",),
        decided_by=Role.LABELING,
        record="guide",
        work=phase1.draw_guide,
        through=LABEL,
        publish=results.publish_guide,
        on_gpu=True,
    ),
    Stage(
        name=TRAIN,
        title="train MAL",
        inputs=(CHECK, BOXES, GUIDE),
        files=("data.train", "encoder.weights", "mal.guide"),
        decided_by=Role.TRAINING,
        work=phase1.train_mal,
        publish=results.publish_labeler,
        brings=(GUIDE,),
        on_gpu=True,
    ),
    Stage(
        name=LABEL,
        title="label every box",
        inputs=(CHECK, BOXES, TRAIN),
        files=("data.train", "boxes", "checkpoint", "pseudo_labels"),
        decided_by=Role.LABELING,
        work=phase1.generate_pseudo_labels,
        publish=results.publish_labels,
        brings=(TRAIN,),
        on_gpu=True,
        shown="accounting",
    ),
    Stage(
        name=NORMAL_MASKS,
        title="turn masks into what mmdet reads",
        inputs=(IMAGES, LABEL),
        decided_by=Role.DATA,
        work=normal_form.normal_masks,
        per_file=True,
        quick=True,
    ),
    Stage(
        name=ONE_CLASS,
        title="make all classes one",
        inputs=(NORMAL_MASKS,),
        decided_by=Role.SEGMENTING,
        work=normal_form.one_class,
        per_file=True,
        quick=True,
    ),
    Stage(
        name=SEGMENT,
        title="train",
        inputs=(CHECK, LABEL, ONE_CLASS),
        files=("data.train", "data.val", "segmenter.config", "segmenter.weights"),
        decided_by=Role.SEGMENTING,
        work=phase2.train_segmenter,
        publish=results.publish_segmenter,
        per_training=True,
        at_once=True,
        scored=True,
        on_gpu=True,
    ),
    Stage(
        name=EVALUATE,
        title="evaluate retention",
        inputs=(CHECK, TRAIN, LABEL, SEGMENT),
        files=("data.train", "data.val", "second_ruler"),
        decided_by=Role.REPORTING,
        work=retention.evaluate_retention,
        publish=results.publish_retention,
        brings=(TRAIN, LABEL, SEGMENT),
        scored=True,
        shown="retention",
    ),
    Stage(
        name=PREDICT,
        title="predict",
        inputs=(CHECK, LABEL, SEGMENT),
        files=("data.train", "data.val", "data.test"),
        decided_by=Role.SEGMENTING,
        prepare=predict.split_to_predict,
        work=predict.predict,
        publish=results.publish_predictions,
        brings=(SEGMENT,),
        per_training=True,
        scored=True,
    ),
)
BY_NAME = {one.name: one for one in STAGES}
PREPARATIONS = tuple(one.name for one in STAGES if one.quick)
"""Without them no later stage can be asked for."""


def walk(config: RunConfig, last: str = EVALUATE) -> tuple[Stage, ...]:
    """A stage and all that it needs in this run, inputs first; those per file are left out.

    A given labeler is used as it is: nothing is trained in phase 1 then. A guide is drawn only
    where a labeler is named for that.
    """
    needed = {TRAIN: config.trains_labeler, GUIDE: config.guide is not None}
    unused = {name for name, used in needed.items() if not used}
    wanted = {last}
    for stage in reversed(STAGES):
        if stage.name in wanted:
            wanted.update(name for name in stage.inputs if name not in unused)
    return tuple(one for one in STAGES if one.name in wanted and not one.per_file)


def begin(run: Run) -> None:
    """Leave the settings of a run in its working folder, before anything is computed.

    Raises:
        ConfigError: That folder, or the chosen output, cannot be written to.
    """
    targets.check_labels(run)
    targets.write_config(composing.as_yaml(run.config), run.config.workdir)


def do_job(_stage: Stage, job: Job) -> Any:
    """Ask for an output and publish it."""
    return job.do()


def perform(
    run: Run, last: str, do: Callable[[Stage, Job], Any] = do_job, *, alone: bool = True
) -> list[Any]:
    """Do a stage and make it visible; what it needs comes from the store or is computed.

    Args:
        run: The run.
        last: Name of the stage.
        do: Does one of its jobs; a flow has a task for each.
        alone: Inputs that become visible with it are done first; else that has been done.

    Returns:
        What there is to say of each of its outputs.

    Raises:
        MalCoreError: The input is wrong, or work failed.
    """
    stage = BY_NAME[last]
    if stage.scored:
        inputs.check_scored(run)
    if stage.prepare is not None:
        stage.prepare(run)
    brought = _brought(stage)
    for one in walk(run.config, last)[:-1]:
        if one.name in brought and alone:
            perform(run, one.name, do, alone=False)
        elif one.name in stage.inputs and stage.at_once:
            for job in one.jobs(run):
                job.ask()  # here and once: calls side by side would all begin it
    calls = [partial(do, stage, job) for job in stage.jobs(run)]
    if not stage.at_once:
        return [call() for call in calls]
    places = _places(run.config)
    return side_by_side(devices.spread(calls, places), len(places))


def _brought(stage: Stage) -> set[str]:
    """What becomes visible with a stage, and with what does."""
    return {*stage.brings}.union(*(_brought(BY_NAME[name]) for name in stage.brings))


def _places(config: RunConfig) -> list[devices.Slot]:
    """GPUs for each training that may run at a time; those that do have GPUs of their own."""
    return devices.slots(
        1 if config.num_nodes > 1 else config.segmenter_jobs,
        max(recipe.num_processes for recipe in config.segmenters),
        devices.visible_devices(),
    )
