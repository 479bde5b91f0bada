"""DOTA: one text file of rotated boxes per image, corners in px, class and difficulty."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mal_core.data.foreign import DOTA_HEADERS, is_number
from mal_core.data.images.frames import Orientation
from mal_core.data.images.walking import files_below
from mal_core.data.rotated_boxes import NUM_COORDINATES, ROTATED, extent_xywh
from mal_core.errors import DatasetError
from mal_core.formats.class_names import shown
from mal_core.formats.folder_files import missing_folder, other_photos_note, unread_note
from mal_core.formats.text_rows import (
    Dropped,
    pictures_below,
    rows_to_coco,
    spelling_notes,
    texts_read,
)

Json = dict[str, Any]
HEADERS = (*DOTA_HEADERS, "acquisition dates:")
"""How lines begin that tell of the photo; they are no objects."""
LARGEST_PX = 1e6
FORM = "a row is x1 y1 x2 y2 x3 y3 x4 y4 class difficulty"


def dota_to_coco(
    images: Path,
    annotations: Path,
    *,
    orientation: Orientation = "auto",
    dropped: Dropped | None = None,
) -> Json:
    """A folder of DOTA's text files (labelTxt) -> COCO.

    A line is `x1 y1 x2 y2 x3 y3 x4 y4 class difficulty`, corners in px of the image; lines that
    begin with `imagesource:` or `gsd:` are left out, and the difficulty may be missing. It stays
    as `difficult`. The corners are a rotated box, not a mask. Classes are numbered in
    alphabetical order. An image without a text file has no objects.

    Raises:
        DatasetError: Carries every problem of every file.
    """
    problems: list[str] = []
    if not annotations.is_dir():
        problem = f"{missing_folder(annotations)}. Give the folder of text files, labelTxt."
        raise DatasetError(annotations, [problem])
    content = rows_to_coco(images, annotations, orientation, _read, problems, dropped)
    if problems:
        raise DatasetError(annotations, problems)
    names = sorted({entry["class"] for entry in content["annotations"]})
    number_of = {name: number for number, name in enumerate(names, start=1)}
    for entry in content["annotations"]:
        entry["category_id"] = number_of[entry.pop("class")]
    categories = [{"id": number, "name": name} for name, number in number_of.items()]
    return {**content, "categories": categories}


def dota_files(images: Path, annotations: Path) -> list[Path]:
    """Text files, and the images, whose sizes the corners must fit."""
    return [*files_below(annotations, ".txt"), *pictures_below(images)]


def dota_notes(images: Path, annotations: Path, content: Json) -> list[str]:
    """What is unusual about a folder that was read."""
    notes = unread_note(annotations, texts_read(annotations, content), images)
    return [*notes, *other_photos_note(images), *spelling_notes(content)]


def _read(line: str, size: tuple[int, int]) -> Json | str | None:
    """The object of a line, what is wrong with it, or None where it tells of the photo."""
    if line.lower().lstrip().startswith(HEADERS):
        return None
    words = line.split()
    problem = _problem(words)
    if problem is not None:
        return f"{shown(line)}: {problem}"
    corners = [float(word) for word in words[:NUM_COORDINATES]]
    found: Json = {
        "class": words[NUM_COORDINATES],
        "iscrowd": 0,
        "bbox": extent_xywh(corners, size),
        ROTATED: corners,
    }
    if len(words) > NUM_COORDINATES + 1:
        found["difficult"] = int(words[-1])
    return found


def _problem(words: Sequence[str]) -> str | None:
    corners, rest = words[:NUM_COORDINATES], words[NUM_COORDINATES:]
    if len(corners) < NUM_COORDINATES or not all(map(is_number, corners)):
        return f"{FORM}."
    odd = next((word for word in corners if not abs(float(word)) < LARGEST_PX), None)
    if odd is not None:
        return f"{odd} is no place in an image. Correct or drop the row."
    if not rest or is_number(rest[0]):
        return f"{FORM}; for rows of numbers alone use data=yolo_obb."
    if len(rest) > 2 or (len(rest) == 2 and not rest[1].isdecimal()):
        return f"{FORM}, with a class of one word and a difficulty of 0, 1 or 2."
    return None
