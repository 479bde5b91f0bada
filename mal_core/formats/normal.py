"""The COCO file that every format becomes, written; what JSON cannot hold is named."""

from pathlib import Path

from mal_core.artifacts import write_json
from mal_core.data.coco import Json
from mal_core.data.validation import constant_problem, label_of
from mal_core.errors import DatasetError

KINDS = {"images": "image", "annotations": "annotation", "categories": "category"}


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
