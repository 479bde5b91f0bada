"""Copies of stage outputs in the folder where the user looks for them."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from flows.store.local import Stored, copy_out
from mal_core.errors import ConfigError, lacks_space
from mal_core.processes.files import atomic_path

logger = logging.getLogger(__name__)

ONNX, JSON_STARTS = ".onnx", (b"", b"{", b"[")
"""Suffix and first bytes of what commands write and may replace."""


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


def check_output(output: Path | None, sources: Sequence[Path]) -> None:
    """Refuse a target that is a folder, an input, or a file of another kind, such as a photo.

    Args:
        output: Where a command shall write.
        sources: Files and folders it reads.

    Raises:
        ConfigError: Writing there would fail or destroy the input.
    """
    if output is None:
        return
    if any(output.resolve() == source.resolve() for source in sources):
        message = f"output={output} is the input. Choose another place."
        raise ConfigError(message)
    if output.is_dir():
        message = (
            f"output={output} is a folder. Name a new one or a file, such as masks.json in it."
        )
        raise ConfigError(message)
    if output.is_file() and output.suffix != ONNX and not _is_json(output):
        message = (
            f"output={output} is there already and is no JSON file, so nothing replaces it. "
            "Choose another place."
        )
        raise ConfigError(message)


def _is_json(path: Path) -> bool:
    with path.open("rb") as stream:
        start = stream.read(1)
    return start in JSON_STARTS


def check_output_name(output: Path | None, target: str) -> None:
    """Refuse the name of a file where labels return as a folder.

    Args:
        output: Where `mal label` shall write.
        target: Name of what labels return as, in the format of the boxes; empty: a COCO file.

    Raises:
        ConfigError: The two do not fit.
    """
    if output is not None and target and not Path(target).suffix and output.suffix == ".json":
        message = (
            f"output={output} looks like a file, but labels return as {target}, a folder of files. "
            "Name a folder; without output, workdir gets labels/train.json, which is COCO, too."
        )
        raise ConfigError(message)


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
