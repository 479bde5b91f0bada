"""Reading back what runs have left: numbers, a page rendered again, the history of a store."""

import json
from pathlib import Path

from flows.settings import composing
from flows.settings.run_config import RunConfig
from flows.stages import inputs, phase2, retention, targets
from flows.stages.run import Run
from flows.stages.trainings import Arm
from mal_core.errors import ArtifactError, ConfigError
from mal_core.evaluation.retention import RetentionReport, report_from_json
from mal_core.processes.places import PAGE, check_place

ARMS: tuple[Arm, ...] = ("human", "pseudo")


def read_report(workdir: Path) -> RetentionReport:
    """The numbers of a finished evaluation.

    Raises:
        ConfigError: There is none.
        ArtifactError: It is no report of this version.
    """
    path = workdir / "retention.json"
    if not path.is_file():
        message = f"workdir={workdir} holds no retention.json. `mal evaluate` writes one."
        raise ConfigError(message)
    try:
        return report_from_json(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        detail = f"{type(error).__name__}: {error}"
        message = f"{path}: no retention report here ({detail}). `mal evaluate` writes one."
        raise ArtifactError(message) from error


def render_report(workdir: Path) -> None:
    """Render report.html again from the files of the folder and the photos it was made from.

    Raises:
        ArtifactError: The folder has no finished evaluation.
    """
    from mal_core.report.page import ReportSources

    report = read_report(workdir)
    config = composing.read_yaml(workdir / "config.yaml")
    run = Run(config)
    train, val = inputs.inputs(run).train, phase2.scored_split(run)
    folders = {recipe.name: workdir / "segmenters" / recipe.name for recipe in config.segmenters}
    diffs = {name: folder / "config.diff" for name, folder in folders.items()}
    curve = workdir / "mal" / "scalars.jsonl"  # of an earlier run, where this one trained none
    sources = ReportSources(
        labeled=workdir / "labels" / "train.json",
        human=train.annotations,
        images=train.images,
        mal_scalars=curve if config.trains_labeler else retention.given_curve(config),
        curves=_files_of(folders, "scalars.jsonl"),
        val_annotations=val.annotations,
        val_images=val.images,
        predictions=_files_of(folders, retention.PREDICTIONS),
        config_diffs={name: path.read_text() for name, path in diffs.items() if path.is_file()},
        settings=composing.to_yaml(retention.shown_settings(config)),
    )
    retention.render(report, sources, workdir / "report.html")


def _files_of(folders: dict[str, Path], file: str) -> dict[tuple[str, str], Path]:
    paths = {(name, arm): folder / arm / file for name, folder in folders.items() for arm in ARMS}
    return {key: path for key, path in paths.items() if path.is_file()}


def write_history(config: RunConfig) -> list[str]:
    """Write history.html of all evaluations that the store remembers.

    Returns:
        They as text, and where the page is.

    Raises:
        ConfigError: There is none yet, or the page cannot be written.
    """
    from mal_core.report import history

    path, target = config.store / composing.HISTORY, config.workdir / "history.html"
    found = history.read_history(path)
    if not found:
        message = f"{path} remembers no evaluation yet. `mal evaluate` and `mal run` add one each."
        raise ConfigError(message)
    check_place(target, kind=PAGE, told=str(target))
    with targets.writable(target):
        history.write_page(found, target)
    return [history.history_text(found), str(target)]
