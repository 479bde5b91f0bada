"""How an error of a child process comes back to its parent as the same error, and not as a log."""

import json
import os
from pathlib import Path
from typing import Any

from mal_core.artifacts import write_json
from mal_core.errors import (
    CheckpointError,
    ConfigError,
    DatasetError,
    MalCoreError,
    TrainingError,
)

FAILURE_FILE = "failure.json"
PLAIN = {kind.__name__: kind for kind in (ConfigError, CheckpointError, TrainingError)}
"""Errors that are their message and nothing else."""


def forget_failure(job_path: Path) -> None:
    """Parent side, before the child starts: what an earlier one left does not count."""
    _file_of(job_path).unlink(missing_ok=True)


def write_failure(job_path: Path, error: MalCoreError) -> None:
    """Child side: leave what went wrong for the parent, which raises it again.

    Only node 0 has such a parent; what goes wrong on another one is in that one's log.
    """
    if os.environ.get("GROUP_RANK", "0") != "0":
        return
    content: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, DatasetError):
        content |= {"path": str(error.path), "problems": list(error.problems)}
    write_json(_file_of(job_path), content)


def read_failure(job_path: Path) -> MalCoreError | None:
    """What the child left; None when it left nothing."""
    path = _file_of(job_path)
    if not path.exists():
        return None
    content = json.loads(path.read_text())
    if content["type"] == DatasetError.__name__:
        error = DatasetError(Path(content["path"]), content["problems"])
        error.args = (content["message"],)  # several files may be in it
        return error
    return PLAIN.get(content["type"], MalCoreError)(content["message"])


def _file_of(job_path: Path) -> Path:
    return job_path.with_name(FAILURE_FILE)
