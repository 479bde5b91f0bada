"""What stages leave for the user to see: files of the working folder, and lines about them."""

import logging
from collections.abc import Sequence
from pathlib import Path

from flows.settings import composing
from flows.stages import (
    cards,
    given_labels,
    inputs,
    normal_form,
    phase1,
    phase2,
    predict,
    retention,
    targets,
)
from flows.stages.run import Run
from flows.stages.trainings import Training
from flows.store.local import Stored, copy_out
from mal_core.data.pseudo_labels import ledger_of
from mal_core.evaluation.retention import RetentionReport
from mal_core.processes.own_file import copy_own
from mal_core.report import history

logger = logging.getLogger(__name__)

DIGITS_SHOWN = 6
LEDGER = "skipped.json"


def publish_nothing(_run: Run, _stored: Stored) -> None:
    """Of a stage whose output only other stages read."""


def say_notes(_run: Run, stored: Stored) -> None:
    """Say what the input holds."""
    for note in inputs.read_check(stored)["notes"]:
        logger.info("%s", note)


def publish_labeler(run: Run, stored: Stored) -> None:
    """The labeler: mal/checkpoint.pth in the working folder."""
    folder = run.config.workdir / "mal"
    _say_noise(run, "the labeler learns from")
    _copy(stored, folder, {name: name for name in ("checkpoint.pth", "scalars.jsonl", "train.log")})
    cards.write_card(run, stored, folder / "checkpoint.pth", "labeler", seeds=[run.config.seed])


def _say_noise(run: Run, what: str) -> None:
    noise = run.config.data.box_noise
    if noise > 0:
        logger.info(
            "note: data.box_noise=%g, for experiments: %s boxes whose sides were moved by up to "
            "%g %% of the box; files keep the boxes you gave",
            noise,
            what,
            100 * noise,
        )


def publish_guide(run: Run, _stored: Stored) -> None:
    """What the guide drew: guide/ in the working folder; its accounting in the log."""
    labels, folder = phase1.guide_labels(run), run.config.workdir / "guide"
    _copy(labels, folder, {name: name for name in ("train.json", "skipped.json")})
    of_guide, file = phase1.guiding(run), folder / "train.json"
    cards.write_card(of_guide, labels, file, "labels", seeds=[run.config.seed])
    logger.info("guide %s: %s", run.config.guided_by, phase1.accounting(labels).line())


def publish_labels(run: Run, stored: Stored) -> str:
    """The labels: labels/ in the working folder, or the chosen output.

    Boxes that came in another format than COCO return in that format too.

    Returns:
        The accounting of boxes, one line; for a detector's boxes also their AP, where
        human masks exist.
    """
    labels, output = stored.path / "train.json", run.config.output
    _say_noise(run, "masks are drawn of")
    unscored = given_labels.unscored_note(run)
    if unscored is not None:
        logger.info("%s", unscored)
    native, chosen = normal_form.native_target(run), targets.labels_folder(run)
    target = output or run.config.workdir / "labels" / (native or "train.json")
    ledger = run.config.workdir / "labels" / LEDGER if output is None else ledger_of(output)
    if output is None:
        _copy(stored, ledger.parent, {"train.json": "train.json"})
    if run.config.boxes is not None:
        normal_form.write_skipped(stored.path / LEDGER, ledger)
    else:
        _copy(stored, ledger.parent, {LEDGER: ledger.name})
    if native:
        normal_form.write_native(run, labels, target, chosen)
    elif output is not None:
        copy_own(labels, output, stored.files["train.json"])
    file = output if output is not None and not native else None
    file = file or run.config.workdir / "labels" / "train.json"
    if file.is_file():
        cards.write_card(run, stored, file, "labels", seeds=[run.config.seed])
    scores = normal_form.detection_scores(run, target)
    return "\n".join([phase1.accounting(stored).line(), *scores])


def publish_segmenter(run: Run, training: Training, stored: Stored) -> None:
    """A segmenter: segmenters/NAME/ARM, or segmenters/NAME/ARM/seed_N after the first seed."""
    extra = "" if training.first else f"seed_{training.seed}"
    folder = run.config.workdir / "segmenters" / training.recipe.name / training.arm / extra
    names = {name: name for name in ("predictions.json", "config.py", "scalars.jsonl")}
    last = Path((stored.path / "last_checkpoint").read_text().strip()).name
    _copy(stored, folder, names | {last: "checkpoint.pth"})
    seeds = [run.config.seed, training.seed]
    cards.write_card(run, stored, folder / "checkpoint.pth", "segmenter", seeds=seeds)


def publish_retention(run: Run, stored: Stored) -> RetentionReport:
    """The report: retention.json and report.html in the working folder, a line of the history.

    And, per segmenter, what differs between both arms' configs.
    """
    names = {name: name for name in ("retention.json", "report.html")}
    for name in stored.files:
        if name.endswith(".config.diff"):
            names[name] = f"segmenters/{name.removesuffix('.config.diff')}/config.diff"
    _copy(stored, run.config.workdir, names)
    report = retention.read_report(stored)
    name = str(run.config.workdir)
    history.record(_history_file(run), report, run=name, data=_scored_data(run))
    return report


def publish_predictions(run: Run, training: Training, stored: Stored) -> Path:
    """Predictions of one training: a zip in submissions/ of the working folder."""
    return predict.write_submission(run, training, stored)


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
    labeled = inputs.inputs(run).train
    digest = _scored_data(run) if scored else run.digests(labeled).annotations
    return f"{title}-{digest[:DIGITS_SHOWN]}"


def _copy(stored: Stored, folder: Path, names: dict[str, str]) -> None:
    """Copy files of a stage, by name there and below the folder, where absent or altered."""
    for source, target in names.items():
        if copy_out(stored.path / source, folder / target, stored.files[source]):
            logger.info("wrote %s", folder / target)


def _history_file(run: Run) -> Path:
    return run.store.root / composing.HISTORY


def _scored_data(run: Run) -> str:
    return run.digests(phase2.scored_split(run)).annotations
