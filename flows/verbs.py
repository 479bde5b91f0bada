"""What each verb of `mal` does; imports of a verb's machinery stay inside it."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from flows import settings
from flows.logs import detach_run_log, show_logs
from flows.run_config import RunConfig

BOTH_SPLITS = (*settings.TRAIN_KEYS, *settings.VAL_KEYS)


def run_verb(verb: str, overrides: Sequence[str], *, force: bool) -> None:
    """Compose the settings and do it.

    Raises:
        MalCoreError: Input or settings are wrong, or a stage failed.
    """
    show_logs()
    if verb == "run":
        run_everything(overrides, force=force)
    elif verb == "report":
        render_report(overrides)
    else:
        single: dict[str, Callable[[Sequence[str], bool], None]] = {
            "check": check,
            "train": train,
            "label": label,
            "segment": segment,
            "evaluate": evaluate,
            "export": export,
        }
        single[verb](overrides, force)


def run_everything(overrides: Sequence[str], *, force: bool) -> None:
    """Check the input, then run the whole flow through Prefect."""
    config = settings.compose(overrides, required=BOTH_SPLITS)
    from flows import stages
    from flows.run import Run

    # Before the flow, so that wrong input is refused at once and not after a server's start.
    stages.check_settings(config)
    stages.check(Run(config), need_val=True)

    from flows.logs import quiet_prefect

    quiet_prefect()
    from prefect.exceptions import TerminationSignal

    from flows import prefect_server

    with prefect_server.server():
        from flows.pipeline import mal_pipeline

        try:
            mal_pipeline(overrides=list(overrides), stage="full", force=force)
        except TerminationSignal as error:
            raise SystemExit(128 + error.signal) from error
        finally:
            detach_run_log()
    show_result(config)


def check(overrides: Sequence[str], force: bool) -> None:
    """Check the splits that the settings name."""
    config = settings.compose(overrides, required=settings.TRAIN_KEYS)
    from flows import stages, steps
    from flows.run import Run

    stages.check_settings(config)
    run = Run(config, force=[stages.CHECK] if force else [])
    steps.check(run, need_val=stages.inputs(run).val is not None)
    say("the input is fine")


def train(overrides: Sequence[str], force: bool) -> None:
    """Train the labeler."""
    config = settings.compose(overrides, required=settings.TRAIN_KEYS)
    from flows import stages, steps

    steps.train_mal(steps.open_run(config, force=[stages.TRAIN] if force else []))
    say(config.workdir / "mal" / "checkpoint.pth")


def label(overrides: Sequence[str], force: bool) -> None:
    """Label the training file, with the trained checkpoint or with a given one."""
    config = settings.compose(overrides, required=settings.TRAIN_KEYS)
    from flows import stages, steps

    run = steps.open_run(config, force=[stages.LABEL] if force else [])
    say(steps.generate_pseudo_labels(run))
    say(config.output or config.workdir / "labels" / "train.json")


def segment(overrides: Sequence[str], force: bool) -> None:
    """Train the segmenters."""
    config = settings.compose(overrides, required=BOTH_SPLITS)
    from flows import stages, steps

    steps.train_segmenters(steps.open_run(config, force=[stages.SEGMENT] if force else []))
    say(config.workdir / "segmenters")


def evaluate(overrides: Sequence[str], force: bool) -> None:
    """Score the segmenters and write the report, or score a labeled file."""
    config = settings.compose(overrides)
    if config.labels is not None:
        score_labels(config)
        return
    config = settings.compose(overrides, required=BOTH_SPLITS)
    from flows import stages, steps

    steps.evaluate_retention(steps.open_run(config, force=[stages.EVALUATE] if force else []))
    show_result(config)


def score_labels(config: RunConfig) -> None:
    """Compare a labeled file with human masks; leaves label_metrics.json."""
    from flows import label_scores

    target = config.output or config.workdir / "label_metrics.json"
    say(label_scores.score_labels(config, target))
    say(target)


def export(overrides: Sequence[str], _force: bool) -> None:
    """Write the labeling network as ONNX."""
    config = settings.compose(overrides)
    from flows import publish
    from mal_core.export import export_onnx

    checkpoint = config.checkpoint or config.workdir / "mal" / "checkpoint.pth"
    target = config.output or config.workdir / "mal" / "labeler.onnx"
    publish.check_output(target, [checkpoint])
    for key, value in export_onnx(checkpoint, target, config.mal).items():
        say(f"{key}: {value}")
    say(target)


def render_report(overrides: Sequence[str]) -> None:
    """Render report.html again from what lies in the working folder, and print the table.

    Raises:
        ArtifactError: The folder has no finished evaluation.
    """
    config = settings.compose(overrides)
    from flows import working_folder

    working_folder.render_report(config.workdir)
    show_result(config)


def show_result(config: RunConfig) -> None:
    """The retention table, where every box went, and where the page is."""
    from flows import working_folder
    from mal_core.retention import retention_text

    say(retention_text(working_folder.read_report(config.workdir)))
    say(f"report: {config.workdir / 'report.html'}")


def say(result: str | Path) -> None:
    """Print a result; stdout has results and nothing else."""
    sys.stdout.write(f"{result}\n")
    sys.stdout.flush()
