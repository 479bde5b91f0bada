"""How an error of a child process comes back to its parent as the same error, and not as a log."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

from mal_core.errors import (
    CheckpointError,
    ConfigError,
    DatasetError,
    LeakError,
    MalCoreError,
    TrainingError,
)
from mal_core.processes.records import read_record, write_record

FAILURE_FILE = "failure.json"
PLAIN = {kind.__name__: kind for kind in (ConfigError, CheckpointError, LeakError, TrainingError)}
"""Errors that are their message and nothing else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """An error, as a child leaves it; `path` and `problems` are those of a DatasetError."""

    type: str
    message: str
    path: Path | None = None
    problems: tuple[str, ...] = ()


def forget_failure(job_path: Path) -> None:
    """Parent side, before the child starts: what an earlier one left does not count."""
    _file_of(job_path).unlink(missing_ok=True)


def write_failure(job_path: Path, error: MalCoreError) -> None:
    """Child side: leave what went wrong for the parent, which raises it again.

    Only node 0 has such a parent; what goes wrong on another one is in that one's log.
    """
    if os.environ.get("GROUP_RANK", "0") != "0":
        return
    failure = Failure(type=type(error).__name__, message=str(error))
    if isinstance(error, DatasetError):
        failure = dataclasses.replace(failure, path=error.path, problems=error.problems)
    write_record(_file_of(job_path), failure)


def read_failure(job_path: Path) -> MalCoreError | None:
    """What the child left; None when it left nothing."""
    path = _file_of(job_path)
    if not path.exists():
        return None
    failure = read_record(Failure, path)
    if failure.path is not None:
        error = DatasetError(failure.path, failure.problems)
        error.args = (failure.message,)  # several files may be in it
        return error
    return PLAIN.get(failure.type, MalCoreError)(failure.message)


def _file_of(job_path: Path) -> Path:
    return job_path.with_name(FAILURE_FILE)
