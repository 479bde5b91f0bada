"""Files that a user has named and a command has written: told from all others, also after a kill.

Beside them lies a hidden list of digests, in the form of sha256sum. A digest is there before its
file is, so an interrupted command is known again; a file that was changed since is not in it.
"""

import contextlib
import json
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from mal_core.errors import ConfigError
from mal_core.processes.files import atomic_path, sha256_file

RECORD = ".written_by_mal.sha256"
"""Digests and names of all that commands have written to its folder, one a line, never fewer."""
FOREIGN = "is there already and was not written by `mal`"
REST = "so nothing replaces it. Move it away, or choose another place."
MANIFEST, DIGEST = ".manifest.json", "sha256"
"""How the manifest beside labels ends, and what their digest is called there."""


def check_own(place: Path, told: str | None = None) -> None:
    """Refuse a place that holds something which no command has written there.

    Args:
        place: Of the file; it may be absent or empty.
        told: What messages call it; `output=PLACE` where it is None.

    Raises:
        ConfigError: A file is there that somebody else has written, or changed since.
    """
    if not place.is_file() or not place.stat().st_size:
        return
    digest = sha256_file(place)
    recorded = _recorded(place)
    if digest in recorded or _manifest(place).get(DIGEST) == digest:
        return
    found = "was changed since `mal` wrote it" if recorded else FOREIGN
    message = f"{told or f'output={place}'} {found}, {REST}"
    raise ConfigError(message)


def check_kind(place: Path, marks: Collection[str], told: str) -> None:
    """Refuse a place that holds something else than a JSON object with these keys.

    Raises:
        ConfigError: There is such a file.
    """
    if place.is_file() and place.stat().st_size and not set(marks) <= _object(place).keys():
        message = f"{told} {FOREIGN}, {REST}"
        raise ConfigError(message)


@contextlib.contextmanager
def own_path(target: Path) -> Iterator[Path]:
    """As `atomic_path`, for a file that the next command may replace."""
    with atomic_path(target) as temporary:
        yield temporary
        record(target, sha256_file(temporary))


def write_own_json(target: Path, value: object, *, indent: int | None = None) -> None:
    """As `write_json`, for a file that the next command may replace."""
    with own_path(target) as temporary:
        temporary.write_text(json.dumps(value, indent=indent, allow_nan=False))


def copy_own(source: Path, target: Path, sha256: str) -> None:
    """Copy a file, of this digest, where the next command may replace it; the same one stays."""
    if not (target.is_file() and sha256_file(target) == sha256):
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
            record(target, sha256)


def adopt(fresh: Path, target: Path) -> None:
    """Put a new file where the next command may replace it, in place of what was there."""
    record(target, sha256_file(fresh))
    fresh.replace(target)


def record(target: Path, digest: str) -> None:
    """Let the next command replace a file of this digest at its place."""
    if digest not in _recorded(target):
        with (target.parent / RECORD).open("a", encoding="utf-8") as stream:
            stream.write(f"{digest}  {target.name}\n")


def _recorded(place: Path) -> set[str]:
    """Digests of all that was written there."""
    try:
        lines = (place.parent / RECORD).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return set()
    parts = (line.partition("  ") for line in lines)
    return {digest for digest, _, name in parts if name == place.name}


def _manifest(place: Path) -> dict[str, Any]:
    """What lies beside labels of a working folder, and of earlier versions."""
    return _object(place.with_name(f"{place.stem}{MANIFEST}"))


def _object(place: Path) -> dict[str, Any]:
    try:
        found = json.loads(place.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
