"""Settings of a whole run, as `flows.settings.composing` composes them."""

import dataclasses
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from flows.settings import commands
from flows.settings.data_source import DataSource as DataSource
from flows.store.stage_names import LABEL, TRAIN
from mal_core.config import (
    SEEDS,
    Config,
    DataConfig,
    EncoderConfig,
    MalConfig,
    SegmenterConfig,
    SplitConfig,
)
from mal_core.config.labelers import GuideConfig, LabelerConfig, MemberConfig
from mal_core.config.roles import (
    Data,
    Labeling,
    Made,
    Operation,
    Reporting,
    Role,
    Segmenting,
    Training,
)
from mal_core.errors import ConfigError

Trained = TypeVar("Trained", MalConfig, SegmenterConfig)
LABELER, LABELS = Made(TRAIN, "checkpoint.pth"), Made(LABEL, "train.json")
LabelRunner = Literal["threads", "dask", "ray"]
ExportFormat = Literal["coco_rle", "coco_polygon", "yolo", "lvis", "voc",
                       "label_studio", "cvat", "fiftyone", "datumaro", "png"]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SegmenterChanges(Config, key="segmenter"):
    """Changes to every selected recipe; None keeps the recipe's own value.

    Attributes:
        config: Any mmdet config, a file or mmdet::NAME, as the one recipe of this run.
        max_steps: Optimiser steps.
        batch_size: Images per step and process.
        image_size: Longer side, px.
        learning_rate: Peak rate.
        num_workers: Processes that prepare images.
        num_processes: Processes (GPUs) that train one segmenter together.
        amp: Train in mixed precision.
        options, label_weights, label_threshold: See SegmenterConfig.
    """

    config: Annotated[str | None, Role.SEGMENTING, Role.PLACE] = None
    max_steps: Segmenting[int | None] = None
    batch_size: Segmenting[int | None] = None
    image_size: Segmenting[int | None] = None
    learning_rate: Segmenting[float | None] = None
    num_workers: Operation[int | None] = None
    num_processes: Segmenting[int | None] = None
    weights: Annotated[str | None, Role.SEGMENTING, Role.PLACE] = None
    amp: Segmenting[bool | None] = None
    options: Segmenting[dict[str, Any]] = field(default_factory=dict)
    label_weights: Segmenting[Literal["none", "score", "threshold"] | None] = None
    label_threshold: Segmenting[float | None] = None
    published_ap: Reporting[float | None] = None


@dataclass(frozen=True, kw_only=True)
class RunConfig(Config):
    """Everything one run needs; all paths are absolute.

    Attributes:
        segmenters: Selected recipes with the changes of this run.
        labeler: Who draws the masks: our own network, which phase 1 trains, or another one.
        guide: The labeler of `mal.guide=NAME`, whose masks teach that network.
        seed: Of all that is random: weights, batches, the first training of each arm.
        segmenter_jobs: Trainings of phase 2 that run side by side; None means as many as
            there are GPUs for, one without GPUs.
        num_nodes: Machines that run this together; each starts the same command.
        node_rank: Which of them this is; 0 runs the pipeline, the others join its trainings.
        rendezvous: HOST:PORT where node 0 listens.
        node_wait_minutes: How long the machines wait for each other at the start.
        time_limit_minutes: When to end the run, as a user would with Ctrl-C.
        label_shards: Parts that the photos are labeled in; the labels are the same for any.
        label_workers: How many shards are labeled side by side; None means all, on a local
            cluster as many as the machine has cores.
        label_runner: Who labels the shards: threads of this process that start a child each,
            or workers of Dask or Ray.
        dask_address, ray_address: A running cluster whose workers see the same files; None
            means one on this machine, for as long as it is needed.
        segmenter_seeds: Each arm is trained once per seed; None means once, with `seed`.
        human_arm: Train each segmenter on human masks too, take its published AP instead, or
            do without.
        second_ruler: Another annotation file of the validation images; predictions are scored
            by it too.
        seconds_per_mask: What a person needs to draw one, for the hours that labels save.
        store: Cache of stage outputs.
        shared_store: Its second level, which several machines share: a URL, without
            credentials, that fsspec understands.
        checkpoint: An existing checkpoint for `mal label`, instead of training one.
        output: Where `mal label` writes; None means below `workdir`. For `mal check` a file for
            all findings as JSON, or with `fix` the folder of the repaired copies.
        measure_seconds, price_per_hour: Of `mal estimate`: for how long each stage is measured,
            and what an hour of this machine costs.
        license_policy: What the licences of encoder, images, given labels and weights must permit;
            `commercial` refuses others before any work.
        fix: `mal check` writes repaired copies of the annotation files.
        boxes: A detector's boxes, a COCO results list; they are labeled instead of the
            boxes of the training file, whose images and classes they refer to.
        pseudo_labels: Masks from elsewhere for the training file's boxes, by annotation id;
            phase 2 uses them and nothing is trained in phase 1.
        serve_port: Of `mal serve`, on the loopback interface; the dashboard links to it.
        trust: Of `mal refine`: how far the masks that come in are believed, in (0, 1).
        labelers, sample: Of `mal bake-off`: who is compared, each with settings of its own, and
            on how many boxes.
        labels, human: Labels and human masks, for `mal evaluate` to compare instead of
            segmenters: COCO files, or of the format that `data` says.
        images: Photos of `human` or `labels`.
        format: What `mal export-labels` writes.
        image_url: What stands before file names in Label Studio's tasks.
        worst, share: How many masks `mal review` shows, or which share of all of them.
        corrections: What `mal review import` takes back: Label Studio's JSON, CVAT's XML or COCO,
            or the decisions of the page; `mal review` leaves out what such decisions settle.
    """

    data: Data[DataSource]
    encoder: Training[EncoderConfig]
    mal: Training[MalConfig]
    segmenters: Segmenting[tuple[SegmenterConfig, ...]]
    workdir: Annotated[Path, Role.OPERATION, Role.PLACE, Role.PER_MACHINE]
    store: Annotated[Path, Role.OPERATION, Role.PLACE]
    shared_store: Annotated[str | None, Role.OPERATION, Role.URL] = None
    labeler: Labeling[LabelerConfig] = field(default_factory=LabelerConfig)
    guide: Training[GuideConfig | None] = None
    seed: Training[int] = 0
    segmenter_jobs: Operation[int | None] = None
    num_nodes: Operation[int] = 1
    node_rank: Annotated[int, Role.OPERATION, Role.PER_MACHINE] = 0
    rendezvous: Operation[str | None] = None
    node_wait_minutes: Operation[float] = 10.0
    time_limit_minutes: Operation[float | None] = None
    label_shards: Operation[int] = 1
    label_workers: Operation[int | None] = None
    label_runner: Operation[LabelRunner] = "threads"
    dask_address: Operation[str | None] = None
    ray_address: Operation[str | None] = None
    segmenter_seeds: Segmenting[tuple[int, ...] | None] = None
    human_arm: Segmenting[Literal["train", "published", "none"]] = "train"
    second_ruler: Annotated[Path | None, Role.REPORTING, Role.FILE, Role.NAMED] = None
    seconds_per_mask: Reporting[float] = 79.2
    serve_port: Operation[int] = 4280
    checkpoint: Annotated[Path | None, Role.LABELING, Role.FILE, LABELER] = None
    output: Annotated[Path | None, Role.OPERATION, Role.PLACE, commands.WRITTEN] = None
    measure_seconds: Annotated[float, Role.OPERATION, commands.ESTIMATE] = 60.0
    price_per_hour: Annotated[float | None, Role.OPERATION, commands.ESTIMATE] = None
    license_policy: Annotated[Literal["any", "commercial"], Role.OPERATION, commands.CHECK] = "any"
    fix: Annotated[bool, Role.OPERATION, commands.REPAIR] = False
    boxes: Annotated[Path | None, Role.DATA, Role.FILE] = None
    pseudo_labels: Annotated[Path | None, Role.LABELING, Role.FILE, Role.NAMED, LABELS] = None
    trust: Annotated[float, Role.OPERATION, commands.REFINE] = 0.6
    labelers: Annotated[tuple[MemberConfig, ...], Role.OPERATION, commands.BAKE_OFF] = ()
    sample: Annotated[int, Role.OPERATION, commands.BAKE_OFF] = 100
    labels: Annotated[Path | None, Role.REPORTING, Role.ANNOTATIONS, commands.LABELED] = None
    human: Annotated[Path | None, Role.REPORTING, Role.ANNOTATIONS, commands.COMPARED] = None
    images: Annotated[Path | None, Role.REPORTING, Role.PLACE, commands.SHOWN] = None
    format: Annotated[ExportFormat | None, Role.OPERATION, commands.EXPORT] = None
    image_url: Annotated[str | None, Role.OPERATION, Role.URL, commands.TASKS] = None
    worst: Annotated[int | None, Role.OPERATION, commands.REVIEW] = None
    share: Annotated[float | None, Role.OPERATION, commands.REVIEW] = None
    corrections: Annotated[Path | None, Role.OPERATION, Role.FILE, commands.CORRECTED] = None

    def _require_possible(self) -> None:
        self._require_ranges()
        self._require_part()
        self._require_nodes()
        self._require_runner()
        if self.segmenter_seeds is not None and len(set(self.segmenter_seeds)) != len(
            self.segmenter_seeds or [0]
        ):
            message = f"segmenter_seeds={list(self.segmenter_seeds)}: wanted different seeds."
            raise ConfigError(message)
        if self.human_arm == "published":
            self._require_published()
        self._check_shared_store()
        self._require_one_labeler()
        self._require_training_to_guide()

    def _require_one_labeler(self) -> None:
        """Refuse settings that name two sources of masks, or boxes without any."""
        if self.pseudo_labels is not None and self.boxes:
            message = "pseudo_labels=FILE replaces phase 1: give no boxes with it."
            raise ConfigError(message)
        trained = self.labeler.is_trained
        if self.pseudo_labels is not None and not trained:
            message = f"pseudo_labels=FILE are the labels: leave labeler={self.labeler.name} out."
            raise ConfigError(message)
        if self.checkpoint is not None and not trained:
            message = (
                f"checkpoint={self.checkpoint} is of labeler=mal, but labeler={self.labeler.name} "
                "draws. Leave one of the two out."
            )
            raise ConfigError(message)
        if self.boxes is not None and self.checkpoint is None and trained:
            message = (
                f"boxes={self.boxes} needs checkpoint=FILE: a detector's boxes are labeled with a "
                "network that `mal train` made of the boxes of an annotation file. Or choose a "
                "labeler that needs no training, such as labeler=sam2."
            )
            raise ConfigError(message)

    def _require_training_to_guide(self) -> None:
        """Refuse a guide where nothing is trained that could follow it."""
        if self.guided_by is None:
            return
        if self.guide is not None and self.mal.self_training.rounds == 0:
            message = (
                f"mal.self_training.rounds=0 is not possible with {self.guide.asked}: it must be "
                "at least 1, since a round learns the guide's masks."
            )
            raise ConfigError(message)
        untrained = self.labelers and not any(one.is_trained for one in self.labelers)
        if self.trains_labeler and not untrained:
            return
        given = ("pseudo_labels", "checkpoint")
        keys = [key for key in given if getattr(self, key) is not None]
        drawers = f"labelers=[{','.join(one.name for one in self.labelers)}]"
        without = f"{drawers} have none" if untrained else f"labeler={self.labeler.name} has none"
        reason = f"{keys[0]}=FILE replaces that" if keys else without
        message = (
            f"mal.guide={self.guided_by} guides the training of labeler=mal, and {reason}. Leave "
            "one of the two out."
        )
        raise ConfigError(message)

    def _check_shared_store(self) -> None:
        if self.shared_store is None:
            return
        protocol, separator, place = self.shared_store.partition("://")
        if not (protocol and separator and place.strip("/")):
            message = (
                f"shared_store={self.shared_store} is no URL; wanted s3://BUCKET/PREFIX or "
                "file:///FOLDER."
            )
            raise ConfigError(message)
        if "@" in place.partition("/")[0]:
            # Not shown: settings, logs and messages are read by more people than credentials.
            message = (
                "shared_store has credentials in its URL; give them by AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or a profile."
            )
            raise ConfigError(message)

    def _require_ranges(self) -> None:
        for key in ("segmenter_jobs", "num_nodes", "label_shards", "label_workers", "worst"):
            seen = getattr(self, key)
            if seen is not None and seen < 1:
                message = f"{key}={seen} is not possible: it must be at least 1."
                raise ConfigError(message)
        for key in (
            "time_limit_minutes",
            "node_wait_minutes",
            "seconds_per_mask",
            "measure_seconds",
            "price_per_hour",
        ):
            seen = getattr(self, key)
            if seen is not None and seen <= 0:
                message = f"{key}={seen} is not possible: wanted > 0."
                raise ConfigError(message)

        for seed in (self.seed, *(self.segmenter_seeds or ())):
            if not 0 <= seed < SEEDS:
                key = "seed" if seed == self.seed else "segmenter_seeds"
                message = f"{key}={seed} is not possible: wanted 0 to {SEEDS - 1}."
                raise ConfigError(message)
        if not 0 < self.trust < 1:
            message = f"trust={self.trust} is not possible: wanted between 0 and 1."
            raise ConfigError(message)

    def _require_part(self) -> None:
        if self.worst is not None and self.share is not None:
            message = f"worst={self.worst} and share={self.share}: give one of the two."
            raise ConfigError(message)
        if self.share is not None and not 0 < self.share <= 1:
            message = f"share={self.share} is not possible: wanted more than 0 and at most 1."
            raise ConfigError(message)

    def _require_nodes(self) -> None:
        """Refuse machines that could not work together."""
        if not 0 <= self.node_rank < self.num_nodes:
            message = (
                f"node_rank={self.node_rank} is not possible with num_nodes={self.num_nodes}: "
                f"wanted 0 to {self.num_nodes - 1}."
            )
            raise ConfigError(message)
        if self.num_nodes == 1:
            return
        found = re.fullmatch(r"(.+):([0-9]{1,5})", self.rendezvous or "")
        if found is None or not 0 < int(found[2]) < 65536:
            message = (
                f"num_nodes={self.num_nodes} needs rendezvous=HOST:PORT, an address of node 0 and "
                f"a free port there; it is {self.rendezvous!r}."
            )
            raise ConfigError(message)
        if self.segmenter_jobs not in (None, 1):
            message = (
                f"segmenter_jobs={self.segmenter_jobs} with num_nodes={self.num_nodes}: trainings "
                "side by side share one machine, trainings on several machines come one after "
                "the other. Leave one of the two out."
            )
            raise ConfigError(message)

    def _require_runner(self) -> None:
        """Refuse the cluster of another runner."""
        for runner, address in (("dask", self.dask_address), ("ray", self.ray_address)):
            if address is not None and self.label_runner != runner:
                message = f"{runner}_address={address} needs label_runner={runner}."
                raise ConfigError(message)

    def _require_published(self) -> None:
        """Refuse published AP where there is none, or where it is of other data for certain."""
        if self.data.source == "scenes" or self.data.class_agnostic:
            message = (
                "human_arm=published: published AP belong to the whole COCO or LVIS with all "
                "classes, not to drawn scenes or data.class_agnostic=true."
            )
            raise ConfigError(message)
        lacking = [one.name for one in self.segmenters if one.published_ap is None]
        if lacking:
            message = (
                f"human_arm=published: no published AP is known for {', '.join(lacking)}; "
                "give segmenter.published_ap=NUMBER in [0, 1]."
            )
            raise ConfigError(message)

    def on_all_nodes(self, training: Trained) -> Trained:
        """A training with the processes of all machines.

        Their number decides the batch of a step, and so the result; how they are spread over
        machines does not.
        """
        return dataclasses.replace(training, num_processes=training.num_processes * self.num_nodes)

    @property
    def trains_labeler(self) -> bool:
        """Whether phase 1 trains a network."""
        given = self.checkpoint is not None or self.pseudo_labels is not None
        return self.labeler.is_trained and not given

    @property
    def guided_by(self) -> Path | str | None:
        """Whose masks teach our network: those of a file, or those that a labeler draws first."""
        return self.mal.guide if self.guide is None else self.guide.name

    @property
    def labelers_side_by_side(self) -> int:
        """How many shards are labeled at the same time."""
        elsewhere = self.dask_address or self.ray_address
        cores = self.label_shards if elsewhere else os.cpu_count() or 1
        return min(self.label_workers or cores, self.label_shards)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the trainings of each arm of phase 2."""
        return (self.seed,) if self.segmenter_seeds is None else self.segmenter_seeds


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The splits of a run once drawn scenes exist; `val` is None where it is not needed.

    Attributes:
        train_notes, val_notes: What the user should know of how they were read.
    """

    train: SplitConfig
    val: SplitConfig | None
    train_notes: tuple[str, ...] = ()
    val_notes: tuple[str, ...] = ()


def data_config(source: DataSource, inputs: Inputs) -> DataConfig:
    """The library's view of the data."""
    return DataConfig(
        train=inputs.train,
        # The check of a run without a validation split is told not to look at it.
        val=inputs.val or inputs.train,
        strict=source.strict,
        decode_images=source.decode_images,
        max_image_pixels=source.max_image_pixels,
    )
