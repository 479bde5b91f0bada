"""Folders that a command writes whole, and knows again when the same command comes back.

A record in the folder says what was written. So the next run replaces that and nothing else: what
somebody has changed since is told and stays, and so does what somebody has put beside it.
"""

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from mal_core.errors import ConfigError
from mal_core.processes.files import sha256_file, write_json
from mal_core.processes.locks import held
from mal_core.processes.places import FOLDER, check_place, leaving_no_new_folder, leaving_nothing

RECORD, PARTIAL, LOCK = ".written_by_mal.json", ".mal-partial", ".lock"
SHOWN = 3
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OwnFolder:
    """A folder and the work that fills it.

    Attributes:
        place: Where it is, or will be.
        work: What fills it, as a user would say it: the same folder is of the same work.
        sources: Files and folders that are read for it.
        told: What messages call the place; `output=PLACE` where it is empty.
    """

    place: Path
    work: str
    sources: Sequence[Path] = ()
    told: str = ""

    def check(self) -> None:
        """Refuse a folder that this work cannot fill; nothing is written.

        Raises:
            ConfigError: Nothing can be written there; or there are files that this work has not
                written, files that were changed since, or an input among those it would replace.
        """
        check_place(self.place, self.sources, kind=FOLDER, told=self.told or None)
        earlier = self._earlier()
        changed = [
            name
            for name, marks in earlier.items()
            if (self.place / name).exists() and not _is_one_of(self.place / name, marks)
        ]
        if changed:
            self._refuse(
                f"has {_listed(changed)}, changed since `{self.work}` wrote that. Move it away, "
                "or name a new folder."
            )
        own = {(self.place / name).resolve() for name in earlier}
        read = [source for source in self.sources if source.resolve() in own]
        if read:
            self._refuse(f"holds the input {read[0]}. Name a new folder.")

    @contextlib.contextmanager
    def filled(self) -> Iterator[Path]:
        """Yield an empty folder; what it holds in the end is what the place holds, or nothing is.

        Files that are the same stay untouched.

        Raises:
            ConfigError: As `check`; or a new file would lie where somebody else's is.
        """
        self.check()
        with leaving_no_new_folder(self.place.parent), self._alone() as fresh:
            self.check()  # of what another command has left meanwhile
            shutil.rmtree(fresh, ignore_errors=True)  # of a run that was killed
            with leaving_nothing(fresh):
                fresh.mkdir(parents=True)
                yield fresh
                marks = {name: [_mark(fresh / name)] for name in _files_of(fresh)}
                if fresh.parent != self.place:
                    self._record(fresh, marks)
                    fresh.rename(self.place)
                else:
                    self._replace(fresh, marks)

    def _fresh(self) -> Path:
        """Where the new folder is made: inside of the place where that is there.

        It may be a disk of its own, in a folder that is not ours.
        """
        beside = self.place.with_name(f".{self.place.name}{PARTIAL}")
        return self.place / PARTIAL if self.place.is_dir() else beside

    @contextlib.contextmanager
    def _alone(self) -> Iterator[Path]:
        """Yield the new folder's place when nobody else fills the same one, after whoever does."""
        while True:
            fresh = self._fresh()
            lock = fresh.with_name(f"{fresh.name}{LOCK}")
            with held(lock, on_wait=self._say_it_waits) as descriptor:
                if not _is_file_of(lock, descriptor):
                    continue  # whoever had it has removed it: another one may have a new one
                try:
                    if self._fresh() == fresh:  # else the place has come there meanwhile
                        yield fresh
                        return
                finally:
                    lock.unlink(missing_ok=True)

    def _say_it_waits(self) -> None:
        logger.info("note: another command writes %s; this one waits for its end", self.place)

    def _earlier(self) -> Mapping[str, Sequence[str]]:
        """What an earlier run has written: files, and what each may be."""
        files = _files_of(self.place) if self.place.is_dir() else []
        if not files and not (self.place / RECORD).is_file():
            return {}
        try:
            record = json.loads((self.place / RECORD).read_text(encoding="utf-8"))
            work, found = str(record["work"]), dict(record["files"])
        except (OSError, ValueError, KeyError, TypeError):
            self._refuse(
                f"holds {_listed(files or [RECORD])}, which `{self.work}` has not written, or an "
                "earlier version of it, which kept no record. Name a new folder, or remove these."
            )
        if any(Path(name).is_absolute() or ".." in Path(name).parts for name in found):
            self._refuse(f"has a {RECORD} that names files elsewhere. Name a new folder.")
        if work != self.work:
            self._refuse(f"holds what `{work}` has written. Name a new folder.")
        return found

    def _replace(self, fresh: Path, new: Mapping[str, Sequence[str]]) -> None:
        earlier = self._earlier()
        foreign = set(_files_of(self.place)) - earlier.keys()
        blocked = sorted(name for name in new if _is_blocked(self.place, name, foreign))
        if blocked:
            self._refuse(f"has {_listed(blocked)} of others, which stays. Name a new folder.")
        if dict(earlier) != new:
            # Of old and new until all are there: a kill in between leaves what is known again.
            names = earlier.keys() | new.keys()
            either = {one: [*earlier.get(one, ()), *new.get(one, ())] for one in names}
            self._record(fresh, either)
        self._move(fresh, new)
        self._remove(earlier.keys() - new.keys())
        if dict(earlier) != new:
            self._record(fresh, new)
        shutil.rmtree(fresh)
        if foreign:
            logger.info(
                "note: %s in %s was not written by `%s` and stays as it is",
                _listed(sorted(foreign)), self.place, self.work,
            )  # fmt: skip

    def _move(self, fresh: Path, files: Mapping[str, Sequence[str]]) -> None:
        for name, marks in files.items():
            target = self.place / name
            if not _is_one_of(target, marks):
                target.parent.mkdir(parents=True, exist_ok=True)
                (fresh / name).replace(target)

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            (self.place / name).unlink(missing_ok=True)
            for step in [*Path(name).parents][:-1]:
                with contextlib.suppress(OSError):  # not empty
                    (self.place / step).rmdir()

    def _record(self, fresh: Path, files: Mapping[str, Sequence[str]]) -> None:
        """In the new folder first: what a kill leaves of it is removed with that."""
        write_json(fresh / RECORD, {"work": self.work, "files": files}, indent=1)
        if fresh.parent == self.place:
            (fresh / RECORD).replace(self.place / RECORD)

    def _refuse(self, problem: str) -> NoReturn:
        message = f"{self.told or f'output={self.place}'} {problem}"
        raise ConfigError(message)


def _files_of(folder: Path) -> list[str]:
    """Names below a folder, but for what this module keeps there."""
    return sorted(
        name.as_posix()
        for path in folder.rglob("*")
        if not path.is_dir() or path.is_symlink()
        if (name := path.relative_to(folder)).parts[0] not in (RECORD, PARTIAL, f"{PARTIAL}{LOCK}")
    )


def _mark(path: Path) -> str:
    """What tells whether a file was changed: its digest; of a link to a photo, size and time."""
    status = path.stat()
    if status.st_nlink > 1:  # to read all photos takes longer than to link them
        return f"{status.st_size} bytes at {status.st_mtime_ns}"
    return sha256_file(path)


def _is_one_of(path: Path, marks: Sequence[str]) -> bool:
    if not path.is_file():
        return False
    status = path.stat()
    if f"{status.st_size} bytes at {status.st_mtime_ns}" in marks:
        return True
    return any(" " not in mark for mark in marks) and sha256_file(path) in marks


def _is_blocked(folder: Path, name: str, foreign: set[str]) -> bool:
    """Whether something that is not ours is where a file or a folder on its way shall be."""
    steps = [*Path(name).parents][:-1]
    return (
        name in foreign
        or (folder / name).is_dir()
        or any(step.as_posix() in foreign for step in steps)
    )


def _is_file_of(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return shown + (f" and {len(names) - SHOWN} more files" if len(names) > SHOWN else "")
