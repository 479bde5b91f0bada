"""The COCO file that every format becomes, written; what JSON cannot hold is named."""

from pathlib import Path

from mal_core.data.coco import Json
from mal_core.data.text import TextError, is_plain, write_plain
from mal_core.data.validation import constant_problem, label_of
from mal_core.errors import DatasetError
from mal_core.processes.files import write_json

KINDS = {"images": "image", "annotations": "annotation", "categories": "category"}


def is_utf8(path: Path) -> bool:
    """Whether a file can be read as it is; of what is no file its reader says so."""
    return not path.is_file() or is_plain(path)


def write_utf8(path: Path, target: Path) -> None:
    """A copy of a file, unpacked and in UTF-8.

    Raises:
        DatasetError: It is broken gzip, or not in the encoding that it shows.
    """
    try:
        write_plain(path, target)
    except TextError as error:
        raise DatasetError(path, [str(error)]) from error


def write_normal(target: Path, content: Json, source: Path, numbered: bool) -> None:
    """Write the content that a format's reader made.

    Args:
        target: The COCO file.
        content: COCO JSON.
        source: What the user gave; errors are about it.
        numbered: Entries were numbered by the reader, so messages call them by their origin.

    Raises:
        DatasetError: Entries hold a NaN or infinite number.
    """
    try:
        write_json(target, content)
    except ValueError as error:
        problems = [
            f"{label_of(kind, index, entry, origins=numbered)} {problem}"
            for key, kind in KINDS.items()
            for index, entry in enumerate(content.get(key, ()))
            if isinstance(entry, dict) and (problem := constant_problem(entry)) is not None
        ]
        problem = "holds a NaN or infinite number, which JSON does not allow."
        raise DatasetError(source, problems or [problem]) from error
