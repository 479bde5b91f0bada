"""The stages of phase 1: boxes without masks, a labeler trained on them, a mask for each.

Functions of one run whose output lies in the store. A stage asks the store for what it needs
from the stages before it, so any of them can be called first; what is there already is
verified and reused.
"""

import dataclasses
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from flows.stages import drawing
from flows.stages.given_labels import ACCOUNTING, counts_of, given_labels
from flows.stages.inputs import check, check_guide, digest_inputs, inputs
from flows.stages.normal_form import in_utf8
from flows.stages.run import Run
from flows.store.code_version import code_version
from flows.store.local import StageKey, Stored
from flows.store.stage_names import BOXES, GUIDE, LABEL, TRAIN
from mal_core.config import SplitConfig
from mal_core.config.roles import Role, deciding
from mal_core.errors import ConfigError, told_of
from mal_core.evaluation.retention import Accounting
from mal_core.labeling.journal import JOURNAL
from mal_core.processes.files import write_json
from mal_core.processes.records import read_record


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


def draw_guide(run: Run) -> Stored:
    """Masks of the training boxes by the labeler that `mal.guide` names; leaves guide.json.

    They are those of `mal label labeler=NAME`, without those of crowds: people drew them.
    """
    drawn = guide_labels(run)

    def work(folder: Path) -> None:
        from mal_core.data.pseudo_labels import forget_crowds

        forget_crowds(drawn.path / "train.json", folder / "guide.json")

    key = StageKey(
        stage=GUIDE,
        config={},
        inputs={"labels": drawn.files["train.json"]},
        code=code_version(["mal_core.data.pseudo_labels"]),
    )
    return run.get(key, work)


def guide_labels(run: Run) -> Stored:
    """What `mal label` leaves of the labeler that `mal.guide` names."""
    check(run, need_val=False)  # before the guide's own, which takes it for the labeler
    title = f"{LABEL} by {run.config.guided_by}"
    return generate_pseudo_labels(guiding(run), title=title, first=partial(_check_encoder, run))


def _check_encoder(run: Run) -> None:
    """Refuse what the training would refuse, before a guide draws for hours."""
    from mal_core.jobs import encoder_check

    encoder_check.check_in_child(run.config.encoder, run.config.mal.crop_size)


def guiding(run: Run) -> Run:
    """The run of the guide: `mal label labeler=NAME` on the same data.

    Raises:
        ConfigError: `mal.guide` names no labeler.
    """
    labeler = run.config.guide
    if labeler is None:
        message = "mal.guide names no labeler: there is nothing to draw."
        raise ConfigError(message)
    inputs(run)  # once for both
    config = dataclasses.replace(run.config, labeler=labeler, guide=None)
    return run.beside(config, force=[LABEL] if run.forces(GUIDE) else [])


def _find_guide(run: Run) -> tuple[Path | None, dict[str, str]]:
    """The file of masks that teach our network, and its part of a key; drawn first."""
    if run.config.guide is not None:
        drawn = draw_guide(run)
        return drawn.path / "guide.json", {"guide": drawn.files["guide.json"]}
    if run.config.mal.guide is None:
        return None, {}
    plain = in_utf8(run, run.config.mal.guide)
    return plain, {"guide": str(run.store.digests.digest(plain))}


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
    guide, guided = _find_guide(run)

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
        return run.get(_train_key(run, stripped, train, guided), work)


def _train_key(run: Run, stripped: Stored, train: SplitConfig, guided: dict[str, str]) -> StageKey:
    config = run.config
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
            alone=["mal_core.jobs.worker", "mal_core.jobs.duties", "mal_core.jobs.phase1"],
            packages=drawing.TORCH,
        ),
    )


def _weights_digest(run: Run) -> str | None:
    path = run.config.encoder.weights
    return None if path is None else run.store.digests.digest(path)


def generate_pseudo_labels(
    run: Run, title: str = LABEL, first: Callable[[], None] | None = None
) -> Stored:
    """Label every box of the training file; leaves train.json and skipped.json.

    Uses the labels, the checkpoint or the labeler that the settings name, else the network that
    this run trains.

    Args:
        run: The run.
        title: Name of the work in log lines.
        first: What has to be in order before boxes are labeled; not asked where they are.
    """
    check(run, need_val=False)
    if run.config.pseudo_labels is not None:
        return given_labels(run, inputs(run).train, run.config.pseudo_labels)
    train, config = inputs(run).train, run.config
    drawer, stripped = drawing.find_drawer(run, labeler_checkpoint), boxes(run)
    moved = {"boxes": "as given"} if config.data.box_noise > 0 else {}

    def work(folder: Path) -> None:
        from flows.stages.label_runners import label
        from mal_core.data.pseudo_labels import restore_crowds
        from mal_core.jobs.phase1 import LabelJob
        from mal_core.labeling.given_boxes import restore_boxes

        if first is not None:
            first()
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
        if moved:
            restore_boxes(job.output, train.annotations)
        # The child has seen no mask, not even that of a crowd.
        if run.view(train.annotations).num_crowds:
            restore_crowds(job.output, train.annotations)
        write_json(folder / ACCOUNTING, counts)
        # Last, so that after a stop just before nothing is drawn again.
        if (folder / JOURNAL).exists():
            shutil.rmtree(folder / JOURNAL)

    key = StageKey(
        stage=LABEL,
        config={**drawer.settings, **moved},
        inputs={
            **drawer.inputs,
            "boxes": stripped.files["boxes.json"],
            **digest_inputs(run, {"train": train}),
        },
        code=drawer.code,
    )
    return run.get(key, work, title=title)


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
