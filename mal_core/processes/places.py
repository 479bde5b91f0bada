"""Where users want things written: refused before any work where that cannot be, or would destroy.

What is written replaces a file of its own kind, so that the same command can run again, and
nothing else: no input, no photo, no device.
"""

import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mal_core.errors import ConfigError, full_disk, lacks_space
from mal_core.processes.files import new_file_beside

STREAMS = Path("/proc")
"""Where links such as /dev/stdout lead."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is written at a place.

    Attributes:
        what: Its name, as in "no JSON file".
        ending: Of its files; empty for a folder.
        example: Such a file, as it may be called.
        starts: First bytes of files that it may replace.
    """

    what: str
    ending: str = ""
    example: str = ""
    starts: tuple[bytes, ...] = ()


JSON = Kind(what="JSON", ending=".json", example="masks.json", starts=(b"", b"{", b"["))
ONNX = Kind(what="ONNX", ending=".onnx", example="labeler.onnx", starts=(b"", b"\x08"))
PAGE = Kind(what="HTML", ending=".html", example="page.html", starts=(b"", b"<"))
FOLDER = Kind(what="folder")
FILE_ENDINGS = frozenset((".json", ".html", ".xml", ".onnx", ".zip", ".csv", ".txt", ".yaml"))
"""Of names that no user gives to a folder."""


def check_place(
    place: Path, sources: Sequence[Path] = (), *, kind: Kind = JSON, told: str | None = None
) -> None:
    """Refuse a place where this cannot be written, or would replace what is not its own.

    Leaves nothing there, and asks the disk: a user who may do everything cannot write everywhere.

    Args:
        place: Where a file or a folder shall be.
        sources: Files and folders that are read.
        kind: What is written.
        told: What messages call the place; `output=PLACE` where it is None.

    Raises:
        ConfigError: Writing there would fail, or destroy what lies there.
        ArtifactError: The disk is full.
    """
    problem = None
    if any(os.path.realpath(place) == os.path.realpath(source) for source in sources):
        problem = "is the input. Choose another place."
    try:
        problem = problem or _stream(place) or _on_the_way(place)
        problem = problem or (_no_folder(place) if kind is FOLDER else _no_file(place, kind))
        if problem is None:
            _try(place)
    except OSError as error:
        if lacks_space(error):
            raise full_disk(told or f"output={place}") from error
        problem = f"cannot be written ({error.strerror}): choose another place."
    if problem is not None:
        message = f"{told or f'output={place}'} {problem}"
        raise ConfigError(message)


def _stream(place: Path) -> str | None:
    """A link such as /dev/stdout may lead to an ordinary file, whose end nobody would find."""
    step = place
    while True:
        is_stream = Path(os.path.realpath(step.parent)).is_relative_to(STREAMS)
        if (is_stream and step.is_symlink()) or _is_special(step):
            return (
                "is a device, a pipe or another stream, and only files can be written whole. Name "
                "a new place on a disk."
            )
        if not step.is_symlink() or not place.exists():
            return None
        step = step.parent / step.readlink()


def _is_special(place: Path) -> bool:
    try:
        mode = place.stat().st_mode
    except FileNotFoundError:
        return False
    except NotADirectoryError:  # below a file, which is told of in other words
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _on_the_way(place: Path) -> str | None:
    if place.is_symlink() and not place.exists():
        return f"is a link to {place.readlink()}, which is not there. Choose another place."
    nearest = _nearest(place.parent)
    if not nearest.is_dir():
        return f"lies below {nearest}, which is a file. Choose another place."
    return None


def _nearest(place: Path) -> Path:
    """The place, or what is nearest above it and exists."""
    return next(step for step in (place, *place.parents) if step.exists() or step.is_symlink())


def _no_folder(place: Path) -> str | None:
    if place.exists() and not place.is_dir():
        return "is a file, and a folder is written there. Name a new folder."
    if place.suffix.lower() in FILE_ENDINGS and not place.exists():
        return "looks like a file, and a folder is written there. Name a new folder."
    return None


def _no_file(place: Path, kind: Kind) -> str | None:
    if place.is_dir():
        return f"is a folder. Name a file, such as {kind.example} in it."
    if place.exists() and not _begins_as(place, kind):
        return (
            f"is there already and is no {kind.what} file, so nothing replaces it. Choose another "
            "place."
        )
    if place.suffix and place.suffix.lower() != kind.ending:
        return (
            f"ends with {place.suffix}, but what is written there is {kind.what}. Name it "
            f"{place.stem}{kind.ending}."
        )
    return None


def _begins_as(place: Path, kind: Kind) -> bool:
    with place.open("rb") as stream:
        return stream.read(1) in kind.starts


def _try(place: Path) -> None:
    """Write where the place is, or nearest to it."""
    if place.is_dir():
        new_file_beside(place / "trial").unlink()
    elif place.parent.is_dir():
        new_file_beside(place).unlink()
    else:
        nearest = _nearest(place.parent)
        trial = nearest / f".{place.name}.{secrets.token_hex(4)}"
        trial.mkdir()
        trial.rmdir()


@contextlib.contextmanager
def leaving_nothing(place: Path) -> Iterator[None]:
    """Remove a file or folder that was not there, and what was made on the way, after a failure."""
    was_there = place.exists()
    with leaving_no_new_folder(place.parent):
        try:
            yield
        except BaseException:
            if not was_there:
                shutil.rmtree(place, ignore_errors=True)
                with contextlib.suppress(OSError):
                    place.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def leaving_no_new_folder(place: Path) -> Iterator[None]:
    """Remove a folder that was not there and those above it after a failure, where empty."""
    absent = [step for step in (place, *place.parents) if not step.exists()]
    try:
        yield
    except BaseException:
        for step in absent:
            with contextlib.suppress(OSError):  # others have put something there meanwhile
                step.rmdir()
        raise
