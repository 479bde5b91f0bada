"""`mal export-labels`: the masks of a labeled file in the form of another tool."""

from pathlib import Path
from typing import get_args

from flows.settings.run_config import ExportFormat, RunConfig
from flows.stages import targets
from flows.stages.images import photos_of
from flows.stages.run import Run
from mal_core.errors import ConfigError
from mal_core.processes.own_folder import OwnFolder

WITH_URLS = ("label_studio",)
"""Forms that name photos by addresses."""


def labels_of(config: RunConfig) -> Path:
    """The labeled file that a verb is about: the given one, else that of the working folder.

    Raises:
        ConfigError: There is none.
    """
    own = config.workdir / "labels" / "train.json"
    path = config.labels or config.pseudo_labels or own
    if not path.is_file():
        message = (
            f"{path}: no such file. Give labels=FILE, or workdir=DIR of a run that made labels."
        )
        raise ConfigError(message)
    return path


def chosen_folder(config: RunConfig, work: str, labels: Path) -> OwnFolder:
    """The folder that a verb writes, which it may have written before.

    Args:
        config: Its `output`, and what else is read.
        work: The verb, and what makes its folder another one.
        labels: The labeled file.

    Raises:
        ConfigError: None is named, or it cannot be written.
    """
    if config.output is None:
        message = "Missing mandatory value: output. Give output=DIR, a new folder."
        raise ConfigError(message)
    folder = OwnFolder(config.output, work, [*targets.sources(config), labels])
    folder.check()
    return folder


def export(config: RunConfig) -> list[str]:
    """Write the folder; returns what was written and lost, in lines.

    Raises:
        ConfigError: A setting is missing or impossible.
        DatasetError: The file is broken, or cannot be said in this format.
    """
    from mal_core.formats.exports import RECORD, export_labels
    from mal_core.formats.exports.labeled import Photos

    if config.format is None:
        known = ", ".join(get_args(ExportFormat))
        message = f"Missing mandatory value: format. Give format=NAME, one of {known}."
        raise ConfigError(message)
    if config.image_url is not None and config.format not in WITH_URLS:
        message = (
            f"image_url={config.image_url}: format={config.format} has no addresses of photos; "
            f"{', '.join(WITH_URLS)} has. Leave it out."
        )
        raise ConfigError(message)
    labels = labels_of(config)
    target = chosen_folder(config, f"mal export-labels format={config.format}", labels)
    if config.images is not None and not config.images.is_dir():
        message = f"images={config.images}: no such folder."
        raise ConfigError(message)
    shown = None if config.images is None else photos_of(Run(config), config.images, labels)
    photos = Photos(folder=shown, url=config.image_url or "")
    with targets.writable(target.place), target.filled() as fresh:
        losses = export_labels(labels, config.format, fresh, photos)
    return [*losses.lines(), f"counts: {target.place / RECORD}", str(target.place)]
