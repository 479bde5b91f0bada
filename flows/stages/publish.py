"""Copies of stage outputs in the folder where the user looks for them."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from flows.store.local import Stored, copy_out
from mal_core.errors import ConfigError, lacks_space
from mal_core.processes.files import atomic_path

logger = logging.getLogger(__name__)


def publish(stored: Stored, folder: Path, names: dict[str, str]) -> None:
    """Copy files of a stage where they are absent or altered.

    Args:
        stored: The stage.
        folder: Target folder.
        names: File in the stage -> file below `folder`.
    """
    for source, target in names.items():
        if copy_out(stored.path / source, folder / target, stored.files[source]):
            logger.info("wrote %s", folder / target)


def publish_labeler(stored: Stored, workdir: Path) -> None:
    """The checkpoint and its training curve."""
    names = ("checkpoint.pth", "scalars.jsonl", "train.log")
    publish(stored, workdir / "mal", {name: name for name in names})


def publish_labels(stored: Stored, workdir: Path) -> None:
    """The labeled file and the list of boxes without a mask."""
    publish(stored, workdir / "labels", {name: name for name in ("train.json", "skipped.json")})


def publish_segmenter(stored: Stored, folder: Path) -> None:
    """Weights, predictions, training curve and the mmdet config."""
    names = {name: name for name in ("predictions.json", "config.py", "scalars.jsonl")}
    last = Path((stored.path / "last_checkpoint").read_text().strip()).name
    names[last] = "checkpoint.pth"
    publish(stored, folder, names)


@contextlib.contextmanager
def writable(target: Path) -> Iterator[None]:
    """A place that the user chose, while it is written.

    Raises:
        ConfigError: It cannot be written to.
    """
    try:
        yield
    except OSError as error:
        if lacks_space(error):
            raise
        message = f"{target} cannot be written ({error.strerror}): choose another place."
        raise ConfigError(message) from error


def publish_config(text: str, workdir: Path) -> None:
    """The composed settings as YAML; the first file written, so a bad folder shows here.

    Raises:
        ConfigError: The working folder cannot be written to.
    """
    target = workdir / "config.yaml"
    try:
        if target.is_file() and target.read_text() == text:
            return
        with atomic_path(target) as temporary:
            temporary.write_text(text)
    except OSError as error:
        message = f"workdir={workdir} cannot be written to ({error.strerror}). Choose another."
        raise ConfigError(message) from error


def publish_retention(stored: Stored, workdir: Path) -> None:
    """The numbers, the page, and per segmenter what differs between both arms' configs."""
    names = {name: name for name in ("retention.json", "report.html")}
    for name in stored.files:
        if name.endswith(".config.diff"):
            names[name] = f"segmenters/{name.removesuffix('.config.diff')}/config.diff"
    publish(stored, workdir, names)
