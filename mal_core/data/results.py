"""The one reader of COCO results lists: what a detector or a segmenter found on the images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mal_core.data.foreign import foreign_json
from mal_core.data.json_lists import read_whole
from mal_core.errors import DatasetError

Json = dict[str, Any]
WORDS = {"bbox": "box", "segmentation": "mask"}
"""What messages call a field."""


def read_results(path: Path, needed: Sequence[str] = ()) -> list[Json]:
    """The entries of a results list, in its order; it may be empty.

    Args:
        path: JSON list of {image_id, category_id, score, bbox or segmentation or both}.
        needed: Fields that every entry must have; what is in them is not looked at.

    Raises:
        DatasetError: It is absent, no list of objects, or entries lack a field.
    """
    entries = read_whole(path)
    if not isinstance(entries, list):
        foreign = foreign_json(entries)
        wanted = "Give COCO results: image_id, category_id, bbox, score."
        seen = f". {wanted}" if foreign is None else f": {foreign}."
        raise DatasetError(path, [f"no list of detections{seen}"])
    problems = [
        f"detection {place} (counted from 0) is no object."
        for place, entry in enumerate(entries)
        if not isinstance(entry, dict)
    ]
    for field in needed:
        lacking = [n for n, one in enumerate(entries) if isinstance(one, dict) and field not in one]
        if lacking:
            what = WORDS.get(field, field)
            problems.append(f"{len(lacking)} predictions have no {what}, the first at {lacking[0]}")
    if problems:
        raise DatasetError(path, problems)
    return entries
