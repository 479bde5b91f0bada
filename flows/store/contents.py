"""`mal cache`: what the store holds, why a stage would run again, and making room."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.store.local import StageKey, Store, Stored, damage, remove_folder
from flows.store.manifest import MANIFEST, Manifest, read_manifest
from flows.store.shared import SharedStore
from mal_core.errors import ConfigError
from mal_core.processes.locks import held_if_free, is_held
from mal_core.report.text_tables import text_table

logger = logging.getLogger(__name__)

DAY_S = 86400.0
FINISHED, UNFINISHED = "finished", "unfinished"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One output in the store, or an attempt at one.

    Attributes:
        path: Its folder; for an output in a shared store, its place below the URL.
        used: When it was made or last reused, seconds since the epoch.
        size: Bytes on disk.
        busy: A process is at work on it.
    """

    stage: str
    key: str
    path: Path
    state: str
    size: int
    used: float
    busy: bool

    @property
    def name(self) -> str:
        """As `mal cache rm` takes it."""
        return f"{self.stage}/{self.key}"


class WouldRunError(Exception):
    """Asked for an output that the store does not have; carries the key."""

    def __init__(self, key: StageKey) -> None:
        self.key = key
        super().__init__(key.stage)


class LookingStore(Store):
    """A store that computes nothing but some stages.

    Args:
        root: As in Store.
        cheap: Stages of seconds that others cannot be asked without.
        beyond: A shared store; what it has counts as stored, although it is not fetched.
    """

    def __init__(
        self, root: Path, cheap: Sequence[str], *, beyond: SharedStore | None = None
    ) -> None:
        super().__init__(root)
        self.cheap, self.beyond = frozenset(cheap), beyond

    def get(
        self, key: StageKey, work: Callable[[Path], None], *, force: bool = False, title: str = ""
    ) -> Stored:
        """The stored output.

        Raises:
            WouldRunError: There is none, or it is damaged.
        """
        if key.stage in self.cheap:
            return self._prepared(key, work, force=force, title=title)
        folder = self.folder(key)
        if folder.exists() and damage(folder) is None:
            return self._found(key, folder)
        known = None if self.beyond is None else self.beyond.has(key.name)
        if known is None:
            raise WouldRunError(key)
        return Stored(stage=key.stage, path=folder, files=known, hit=True)

    def _prepared(
        self, key: StageKey, work: Callable[[Path], None], *, force: bool, title: str
    ) -> Stored:
        try:
            return super().get(key, work, force=force, title=title)
        except FileNotFoundError as error:
            if self.beyond is None:
                raise
            # It reads what only the shared store has; a question fetches nothing.
            raise WouldRunError(key) from error


def entries(root: Path) -> list[Entry]:
    """Everything in a store, by stage, the most recently used first."""
    found = [
        _entry(folder)
        for stage in sorted(root.iterdir() if root.is_dir() else ())
        if stage.is_dir()
        for folder in stage.iterdir()
        if folder.is_dir()
    ]
    return sorted(found, key=lambda entry: (entry.stage, -entry.used, entry.key))


def _entry(folder: Path) -> Entry:
    finished = not folder.suffix and (folder / MANIFEST).is_file()
    files = [path.stat() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    own = (folder / MANIFEST if finished else folder).stat().st_mtime
    return Entry(
        stage=folder.parent.name,
        key=folder.name,
        path=folder,
        state=FINISHED if finished else UNFINISHED,
        size=sum(status.st_size for status in files),
        used=own if finished else max([own, *(status.st_mtime for status in files)]),
        busy=is_held(_lock_of(folder)),
    )


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name.partition('.')[0]}.lock")


def listing(found: Sequence[Entry], *, when: str = "last used") -> str:
    """A table of entries and their sum; `when` says what their times are."""
    rows = [
        {
            "output": entry.name,
            "size": format_size(entry.size),
            f"{when} (UTC)": datetime.fromtimestamp(entry.used, UTC).strftime("%Y-%m-%d %H:%M"),
            "state": "at work" if entry.busy else entry.state,
        }
        for entry in found
    ]
    total = f"{len(found)} outputs, {format_size(sum(entry.size for entry in found))}"
    return "\n".join(filter(None, [text_table(rows), total]))


def format_size(size: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def chosen(root: Path, names: Sequence[str]) -> list[Entry]:
    """Entries by name: a stage, STAGE/KEY, or the beginning of a key that no other has.

    Raises:
        ConfigError: A name means nothing, or several outputs.
    """
    return named(entries(root), names, str(root))


def named(found: Sequence[Entry], names: Sequence[str], place: str) -> list[Entry]:
    """Those of some entries that names choose, as in `chosen`.

    Args:
        found: Everything that is there.
        names: What is wanted.
        place: Where, for the message.

    Raises:
        ConfigError: A name means nothing, or several outputs.
    """
    picked = []
    for name in names:
        stage, _, key = name.partition("/")
        matches = [entry for entry in found if entry.stage == stage and entry.key.startswith(key)]
        if not matches:
            known = ", ".join(sorted({entry.stage for entry in found})) or "nothing"
            message = f"{name}: no such output. The store {place} has {known}; see `mal cache ls`."
            raise ConfigError(message)
        if key and len({entry.key.partition(".")[0] for entry in matches}) > 1:
            message = f"{name}: {len(matches)} outputs begin like this. Give more of the key."
            raise ConfigError(message)
        picked += matches
    return picked


def unused(root: Path, days: float) -> list[Entry]:
    """What nobody has used for some days and nobody works on, finished or not."""
    deadline = time.time() - days * DAY_S
    return [entry for entry in entries(root) if entry.used < deadline and not entry.busy]


def remove(found: Sequence[Entry]) -> list[Entry]:
    """Delete outputs; those that a process works on stay. Returns what is gone."""
    gone = []
    for entry in found:
        # Locks stay: a process may be waiting on the file, and the next would make another.
        with held_if_free(_lock_of(entry.path)) as free:
            if not free:
                logger.warning("%s: a process is at work on it; left alone", entry.name)
                continue
            remove_folder(entry.path)
            gone.append(entry)
    return gone


def differences(key: StageKey, root: Path) -> list[str]:
    """How a key differs from the most similar finished output of its stage, in words."""
    folder = root / key.stage
    known = [
        read_manifest(path)
        for path in (folder.iterdir() if folder.is_dir() else ())
        if not path.suffix and (path / MANIFEST).is_file() and damage(path) is None
    ]
    if not known:
        return ["the store has no output of this stage"]
    wanted = _flat(key)
    nearest = min(
        (_flat(candidate) for candidate in known),
        key=lambda candidate: _distance(wanted, candidate),
    )
    if 2 * len(wanted.keys() & nearest) < len(wanted | nearest):
        return ["the store has no output of this stage that was made in such a way"]
    return [
        f"{name}: {_shown(nearest.get(name))} -> {_shown(wanted.get(name))}"
        for name in sorted(wanted | nearest)
        if wanted.get(name) != nearest.get(name)
    ] or [f"{root / key.stage / key.digest} is damaged"]


def _distance(wanted: dict[str, Any], known: dict[str, Any]) -> int:
    return sum(wanted.get(name) != known.get(name) for name in wanted | known)


def _flat(manifest: Manifest | StageKey) -> dict[str, Any]:
    """Ingredients of a key by dotted name."""
    parts = {"config": manifest.config, "inputs": manifest.inputs, "code": manifest.code}
    plain = json.loads(json.dumps(parts))  # tuples are lists in a file
    return dict(_leaves(plain, ""))


def _leaves(node: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, node


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)  # as it stands in YAML
    return f"{text[:8]}..." if len(text) == 64 else text  # a digest
