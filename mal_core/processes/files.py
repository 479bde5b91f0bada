"""Files that are whole or absent: digests, atomic writes."""

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

from mal_core.errors import ArgumentError

CHUNK_BYTES = 1 << 20
READ_EVENT = "mal_core.read"
"""Audit event of a file that a library opens by itself, where Python cannot tell of it."""


LONGEST_NAME = 255
"""Bytes of one name in a path; no usual file system takes more."""
Place = str | PathLike[str]
"""What Python code may give for a path."""


def path_of(given: object, name: str) -> Path:
    """A place that Python code gives, as a path.

    Args:
        given: A text or a path.
        name: How messages call it.

    Raises:
        ArgumentError: It is neither, or empty.
    """
    if not isinstance(given, str | PathLike) or not isinstance(os.fspath(given), str):
        message = f"{name} is of type {type(given).__name__}; wanted a path, as str or Path."
        raise ArgumentError(message)
    if not os.fspath(given):
        message = f"{name} is an empty text; wanted a path."
        raise ArgumentError(message)
    return Path(given)


def longest_name(text: str) -> int:
    """Bytes of the longest name in a path where that is too long for file systems, else 0."""
    longest = max(len(part.encode(errors="replace")) for part in text.split("/"))
    return longest if longest > LONGEST_NAME else 0


def is_file(path: Path) -> bool:
    """Whether there is such a file; no name is too long or too odd to ask for."""
    return os.path.isfile(path)  # noqa: PTH113 - Path's raises for those


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def permission_problem(path: Path) -> str | None:
    """Why this user may not read a file or a folder that is there; None where they may."""
    for place in (*reversed(path.parents), path):
        # From the root on: in a folder that may not be entered nothing can be asked for.
        if not place.exists():
            return None  # whoever reads it says so
        folder = place.is_dir()
        needed = (os.X_OK if folder else 0) | (os.R_OK if place == path else 0)
        if not os.access(place, needed):
            what = "folder may not be entered or listed" if folder else "file may not be read"
            return f"the {what} (permission denied): {place}. Change its permissions."
    return None


def sha256_json(value: object) -> str:
    """Hex SHA-256 of a JSON value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; rename it over `target` on success.

    A reader sees the old file or the new one, never a part. On an error the
    temporary file is removed and `target` stays as it was. Who may read it is what the
    umask says.

    Raises:
        FileExistsError: The target is a device, a pipe or a folder, which no file may replace.
    """
    if target.exists() and not target.is_file():
        raise FileExistsError(errno.EEXIST, "is no file", str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = new_file_beside(target)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def new_file_beside(target: Path) -> Path:
    """A new, empty, hidden file in the folder of a target, which need not be there itself."""
    # Not by tempfile, whose files nobody else may read: this one is what the umask says.
    while True:
        path = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            path.touch(0o666, exist_ok=False)
        except FileExistsError:
            continue
        return path


def write_json(target: Path, value: object, *, indent: int | None = None) -> None:
    """Write a JSON file atomically; NaN and infinity are refused (ValueError)."""
    with atomic_path(target) as temporary:
        temporary.write_text(json.dumps(value, indent=indent, allow_nan=False))


def append_jsonl(target: Path, value: object) -> None:
    """Append one JSON line to a log file."""
    with target.open("a") as stream:
        stream.write(json.dumps(value) + "\n")
