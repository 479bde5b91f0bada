"""What lies below a folder, links to other folders included."""

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from mal_core.errors import DatasetError


def entries_below(root: Path) -> Iterator[tuple[str, bool]]:
    """All that is no folder, by its relative path, and whether it is a file that is there.

    Links to folders are followed, but for one that leads to a folder it lies in. Where there is
    no folder, there is nothing.

    Raises:
        DatasetError: A folder may not be read.
    """
    waiting = [(str(root), "", frozenset[tuple[int, int]]())]
    while waiting:
        folder, prefix, above = waiting.pop()
        try:
            status = os.stat(folder)  # noqa: PTH116
            with os.scandir(folder) as found:
                entries = list(found)
        except (FileNotFoundError, NotADirectoryError):  # also one that was taken away meanwhile
            continue
        except OSError as error:
            problem = f"the folder cannot be read: {error.strerror}. Change its permissions."
            raise DatasetError(Path(folder), [problem]) from error
        place = status.st_dev, status.st_ino
        if place in above:
            continue
        for entry in entries:
            if _says(entry.is_dir):
                waiting.append((entry.path, f"{prefix}{entry.name}/", above | {place}))
            else:
                yield f"{prefix}{entry.name}", _says(entry.is_file)


def _says(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # of a link to itself
        return False


def is_hidden(name: str) -> bool:
    """Whether a relative path is of a hidden file, or of one that macOS puts beside another.

    It puts a `._x` beside every x on foreign disks, and `__MACOSX` into archives.
    """
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def files_below(folder: Path, *suffixes: str) -> list[Path]:
    """Files of some suffixes in any letter case, in subfolders too; hidden ones are left out.

    Raises:
        DatasetError: A folder may not be read.
    """
    wanted: Collection[str] = frozenset(suffixes)
    return sorted(
        folder / name
        for name, _ in entries_below(folder)
        if os.path.splitext(name)[1].lower() in wanted and not is_hidden(name)  # noqa: PTH122
    )
