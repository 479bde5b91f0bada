"""Locks on files that last as long as whoever holds them, however that ends.

A lock that is held says that its holder is alive, or a child that inherited it. Processes on
other machines see it too, where they share the file system.
"""

import contextlib
import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def held(path: Path, *, on_wait: Callable[[], object] = lambda: None) -> Iterator[int]:
    """Hold a lock, after whoever has it.

    Args:
        path: Its file; it is made, and stays: others may be waiting on it.
        on_wait: Called before waiting, if another process has it.

    Yields:
        Its descriptor. Children that inherit it hold the lock too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        if not _taken(lock, fcntl.LOCK_EX):
            on_wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield lock.fileno()
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)


@contextlib.contextmanager
def held_if_free(path: Path) -> Iterator[bool]:
    """Hold a lock if nobody else does; yields whether it is held."""
    with path.open("a") as lock:
        yield _taken(lock, fcntl.LOCK_EX)


def is_held(path: Path) -> bool:
    """Whether somebody holds a lock; its file may be absent."""
    try:
        with path.open() as lock:
            return not _taken(lock, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _taken(lock: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
