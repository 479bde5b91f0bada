"""A folder that must not be removed while a stage is at work in it."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from mal_core.errors import ArtifactError, MalCoreError


@contextlib.contextmanager
def must_stay(folder: Path, title: str) -> Iterator[None]:
    """Say so when somebody removed the folder of a stage at work, whatever that then broke.

    Children that write into it may make it again: what lies there then is not whole, and goes.

    Raises:
        ArtifactError: It was removed.
    """
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)  # while held, no other is the same
    cause: BaseException | None = None
    try:
        yield
    except (MalCoreError, OSError) as error:
        if _is_still(folder, held):
            raise
        cause = error
    finally:
        removed = not _is_still(folder, held)
        os.close(held)
    if removed:
        shutil.rmtree(folder, ignore_errors=True)
        message = (
            f"{title}: {folder} was removed while the stage was at work in it. The same command "
            "makes it again; `mal cache rm` leaves alone what is at work."
        )
        raise ArtifactError(message) from cause


def _is_still(folder: Path, held: int) -> bool:
    try:
        return os.path.samestat(folder.stat(), os.fstat(held))
    except OSError:
        return False
