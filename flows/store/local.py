"""Content-addressed store of stage outputs: whole or absent, verified on every hit.

Layout, below one root folder:

    <stage>/<key>/            files of a finished stage and MANIFEST.json
    <stage>/<key>.partial/    a stage at work; survives a kill, and the next run resumes from it
    <stage>/<key>.lock        held by the one process (and its children) that works on the key
    digests.sqlite            digests of input files by path, size, times and inode

A store may have a second level that several machines share (flows.store.shared): what is
absent here is fetched from there, and what is made here is uploaded.

A key is the digest of everything that decides the output: stage, its own settings, the
digests of its inputs and the version of its code.
"""

import contextlib
import logging
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.store.held_folder import must_stay
from flows.store.manifest import MANIFEST as MANIFEST
from flows.store.manifest import Manifest, read_manifest, write_manifest
from flows.store.shared import SharedStore
from mal_core.errors import SPACE_ADVICE, ArtifactError, ConfigError, RecordError, lacks_space
from mal_core.processes.children import children_hold
from mal_core.processes.files import atomic_path, sha256_file, sha256_json
from mal_core.processes.locks import held

logger = logging.getLogger(__name__)

KEY_LENGTH = 32
DATABASE_PATIENCE_S = 60.0
ROWS_PER_COMMIT = 1000
FRESH_NS = 2_000_000_000
"""A file changed this recently may change again within one tick of its clock: never trusted."""

_announced: set[Path] = set()
"""Outputs this process has spoken of: stages look at each other's many times."""


@dataclass(frozen=True, kw_only=True)
class StageKey:
    """Everything that decides a stage's output.

    Attributes:
        config: Settings of this stage only, as JSON values; no paths, no worker counts.
        inputs: Digests of input files and upstream outputs, by role.
        code: Version of the code that runs.
    """

    stage: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    code: str

    def as_json(self) -> dict[str, Any]:
        """The ingredients, as the manifest keeps them."""
        parts = {"config": dict(self.config), "inputs": dict(self.inputs)}
        return {"stage": self.stage, **parts, "code": self.code}

    @property
    def digest(self) -> str:
        """Name of the output folder: 32 hex digits."""
        return sha256_json(self.as_json())[:KEY_LENGTH]

    @property
    def name(self) -> str:
        """Of the output in a shared store, STAGE/KEY."""
        return f"{self.stage}/{self.digest}"


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A finished stage.

    Attributes:
        path: Its folder in the store.
        files: SHA-256 of each file, by path relative to `path`.
        hit: Nothing had to be computed.
    """

    stage: str
    path: Path
    files: Mapping[str, str]
    hit: bool


class Store:
    """Runs each stage at most once per key, whoever asks and whatever was killed.

    Args:
        root: Folder that stages work in and read from.
        shared: A second level, in which other machines find what this one makes.
    """

    def __init__(self, root: Path, *, shared: SharedStore | None = None) -> None:
        self.root, self.shared = root, shared
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"store={root} cannot be used ({error.strerror}). Choose another folder."
            raise ConfigError(message) from error
        self.digests = DigestCache(root / "digests.sqlite")

    def folder(self, key: StageKey) -> Path:
        """Where the finished output of a key is, or will be."""
        return self.root / key.stage / key.digest

    def attempt(self, key: StageKey) -> Path:
        """Where an unfinished attempt at it lies, if there is one."""
        return self.folder(key).with_suffix(".partial")

    def get(
        self, key: StageKey, work: Callable[[Path], None], *, force: bool = False, title: str = ""
    ) -> Stored:
        """The stored output of a key; fetched or computed when it is absent or damaged.

        Args:
            key: What is wanted.
            work: Fills the folder it is given; finds there what an interrupted
                attempt left.
            force: Compute it again, from nothing.
            title: Name in log lines; default the stage's.

        Raises:
            ArtifactError: The shared store failed; what was computed stays in the local one.
        """
        folder, title = self.folder(key), title or key.stage
        try:
            return self._get(key, work, folder, title, force=force)
        except OSError as error:
            if not lacks_space(error):
                raise
            message = f"{self.root}: {SPACE_ADVICE}"
            raise ArtifactError(message) from error

    def _get(
        self,
        key: StageKey,
        work: Callable[[Path], None],
        folder: Path,
        title: str,
        *,
        force: bool,
    ) -> Stored:
        with self._locked(folder, title):
            if force:
                remove_folder(folder)
                remove_folder(self.attempt(key))
            stored = self._find(key, folder, title)
            if self.shared is None:
                return stored or self._compute(key, work, folder, title)
            if stored is not None:
                self.shared.add(key.name, folder, title)
                return stored
            if force or not self._fetch(self.shared, key, title):
                stored = self._compute_for_all(self.shared, key, work, title, force=force)
            return stored or self._found(key, folder)

    def _fetch(self, shared: SharedStore, key: StageKey, title: str) -> bool:
        folder = self.folder(key)
        fetched = shared.fetch(key.name, folder, title)
        if fetched:
            remove_folder(self.attempt(key))
            _announced.add(folder)
        return fetched

    def _compute_for_all(
        self,
        shared: SharedStore,
        key: StageKey,
        work: Callable[[Path], None],
        title: str,
        *,
        force: bool,
    ) -> Stored | None:
        """Compute an output and upload it; None when it was fetched after all."""
        while True:
            with shared.turn(key.name, title, force=force) as ours:
                if ours:
                    folder = self.folder(key)
                    stored = self._compute(key, work, folder, title)
                    shared.upload(key.name, folder, title)
                    return stored
            if self._fetch(shared, key, title):
                return None

    @contextlib.contextmanager
    def _locked(self, folder: Path, title: str) -> Iterator[None]:
        """Hold the key's lock; it ends with this process and its children, however they end."""

        def say_so() -> None:
            logger.info("%s: another process is at work on it; waiting", title)

        with held(folder.with_suffix(".lock"), on_wait=say_so) as lock, children_hold(lock):
            yield

    def _find(self, key: StageKey, folder: Path, title: str) -> Stored | None:
        # A kill between the manifest and the rename leaves a finished partial folder.
        partial = self.attempt(key)
        if not folder.exists() and (partial / MANIFEST).exists() and not damage(partial):
            partial.rename(folder)
        if not folder.exists():
            return None
        problem = damage(folder)
        if problem is not None:
            logger.warning("%s: stored output is damaged (%s); computing it again", title, problem)
            remove_folder(folder)
            return None
        os.utime(folder / MANIFEST)  # when it was last of use, for `mal cache gc`
        if folder not in _announced:
            _announced.add(folder)
            logger.info("%s: cached", title)
        return self._found(key, folder)

    def _found(self, key: StageKey, folder: Path) -> Stored:
        files = read_manifest(folder).files
        return Stored(stage=key.stage, path=folder, files=files, hit=True)

    def _compute(
        self, key: StageKey, work: Callable[[Path], None], folder: Path, title: str
    ) -> Stored:
        partial = self.attempt(key)
        (partial / MANIFEST).unlink(missing_ok=True)
        _drop_torn_writes(partial)
        resumed = partial.exists() and any(partial.iterdir())
        logger.info("%s: %s", title, "continuing an interrupted attempt" if resumed else "running")
        partial.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        with must_stay(partial, title):
            work(partial)
        seconds = round(time.monotonic() - started, 1)
        files = {str(path.relative_to(partial)): sha256_file(path) for path in _files_in(partial)}
        manifest = Manifest(key=key.digest, **key.as_json(), seconds=seconds, files=files)
        write_manifest(partial, manifest)
        partial.rename(folder)
        _announced.add(folder)
        logger.info("%s: done in %.1f s", title, seconds)
        return Stored(stage=key.stage, path=folder, files=files, hit=False)


def damage(folder: Path) -> str | None:
    """What is wrong with a stored stage; None when every file is as it was written."""
    try:
        manifest = read_manifest(folder)
    except OSError as error:
        return f"{MANIFEST}: {error}"
    except RecordError as error:
        return str(error)
    for name, wanted in manifest.files.items():
        path = folder / name
        if not path.is_file():
            return f"{path} is missing"
        if sha256_file(path) != wanted:
            return f"{path} was altered"
    return None


def copy_out(source: Path, target: Path, sha256: str) -> bool:
    """Copy a stored file to where the user looks for it; returns whether that was needed."""
    if target.is_file() and sha256_file(target) == sha256:
        return False
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
    return True


def _drop_torn_writes(partial: Path) -> None:
    # A kill in the middle of an atomic write leaves its temporary file.
    for path in [*partial.rglob(".*")]:
        if path.is_file():
            path.unlink()


def remove_folder(folder: Path) -> None:
    """Delete a folder of the store, if it is there."""
    if folder.exists():
        # Renamed first: a kill in the middle must not leave a half-empty folder that looks whole.
        doomed = folder.with_suffix(f".doomed-{os.getpid()}")
        folder.rename(doomed)
        shutil.rmtree(doomed)


def _files_in(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


class DigestCache:
    """Digests of input files, remembered while path, size, times and inode stay the same."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def digests(self, paths: Iterable[Path]) -> dict[Path, str | None]:
        """SHA-256 of each file, None for one that cannot be read."""
        found: dict[Path, str | None] = {}
        fresh: list[tuple[object, ...]] = []
        with contextlib.closing(self._connect()) as database:
            for path in paths:
                found[path], row = _digest(database, path)
                if row is not None:
                    fresh.append(row)
                if len(fresh) >= ROWS_PER_COMMIT:
                    _remember(database, fresh)
            _remember(database, fresh)
        return found

    def digest(self, path: Path) -> str | None:
        """SHA-256 of one file, None when it cannot be read."""
        return self.digests([path])[path]

    def _connect(self) -> sqlite3.Connection:
        try:
            return _open(self.path)
        except sqlite3.DatabaseError as error:
            if not self.path.parent.is_dir():
                message = f"store={self.path.parent} was removed under this run. Start it again."
                raise ArtifactError(message) from error
            if isinstance(error, sqlite3.OperationalError):
                message = f"{self.path}: {error}. Is another process stuck on this store?"
                raise ArtifactError(message) from error
            logger.warning("%s is damaged (%s); reading input files again", self.path, error)
            self.path.unlink()
            return _open(self.path)


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=DATABASE_PATIENCE_S)
    database.execute(
        "CREATE TABLE IF NOT EXISTS file_digests (path TEXT PRIMARY KEY, size INTEGER, "
        "mtime_ns INTEGER, ctime_ns INTEGER, inode INTEGER, sha256 TEXT)"
    )
    return database


def _remember(database: sqlite3.Connection, rows: list[tuple[object, ...]]) -> None:
    # Written in one short transaction: the write lock is never held while a file is read.
    with database:
        database.executemany("INSERT OR REPLACE INTO file_digests VALUES (?, ?, ?, ?, ?, ?)", rows)
    rows.clear()


def _digest(
    database: sqlite3.Connection, path: Path
) -> tuple[str | None, tuple[object, ...] | None]:
    """Digest of a file and the row to remember, if there is one."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
            return None, None
        # Copies and archives bring their own modification time along; nobody sets the change time.
        state = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        row = database.execute(
            "SELECT size, mtime_ns, ctime_ns, inode, sha256 FROM file_digests WHERE path = ?",
            (str(path),),
        ).fetchone()
        if row is not None and row[:4] == state:
            return str(row[4]), None
        found = sha256_file(path)
    except (OSError, ValueError):  # ValueError: no file system takes such a name
        return None, None
    settled = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > FRESH_NS
    return found, (str(path), *state, found) if settled else None
