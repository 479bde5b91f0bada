"""A COCO file of corrected masks: CVAT's "COCO 1.0", or any whose annotations keep their ids."""

import reprlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mal_core.data.coco import repeated_ids
from mal_core.data.validation import label_of, structure_problems
from mal_core.errors import DatasetError
from mal_core.formats.exports.cvat import ID
from mal_core.geometry.mask_forms import is_mask
from mal_core.review.decisions import WHOLE_NUMBER
from mal_core.review.given import Given, Shape

Json = dict[str, Any]


def read_coco(content: object, path: Path) -> Given:
    """The masks of a parsed COCO file.

    CVAT numbers annotations anew and keeps ours in `attributes`; where no annotation has that
    attribute, `id` is the annotation's own.

    Raises:
        DatasetError: It is no COCO file, or an entry is broken; carries all problems.
    """
    problems = structure_problems(content)
    if problems:
        raise DatasetError(path, problems)
    assert isinstance(content, dict)  # noqa: S101 - as asked above
    images, names = _images(content), _names(content)
    entries = [entry for entry in content["annotations"] if isinstance(entry, dict)]
    numbered_anew = any(_attribute(entry) is not None for entry in entries)
    if not numbered_anew:
        own = [entry.get("id") for entry in entries if is_mask(entry.get("segmentation"))]
        problems += repeated_ids(key for key in own if type(key) is int)
    # CVAT's has all that a photo has; others may have a part.
    found = Given(tool="COCO", photos=_file_names(images) if numbered_anew else [])
    unmasked = 0
    for index, entry in enumerate(content["annotations"]):
        where = label_of("annotation", index, entry)
        if not isinstance(entry, dict):
            problems.append(f"{where} is {reprlib.repr(entry)}, but must be an object. Drop it.")
        elif not is_mask(entry.get("segmentation")):
            unmasked += 1
        else:
            key = _attribute(entry) if numbered_anew else entry.get("id")
            found.shapes += _shape(entry, where, key, images, names, problems)
    if unmasked:
        found.notes.append(f"{unmasked} annotations have no mask and are left out")
    if problems:
        raise DatasetError(path, problems)
    return found


def _images(content: Json) -> dict[object, Json]:
    return {
        image["id"]: image
        for image in content["images"]
        if isinstance(image, dict) and type(image.get("id")) is int
    }


def _file_names(images: dict[object, Json]) -> list[str]:
    names = (image.get("file_name") for image in images.values())
    return [name for name in names if isinstance(name, str)]


def _names(content: Json) -> dict[object, str]:
    return {
        category["id"]: category["name"]
        for category in content["categories"]
        if isinstance(category, dict)
        and type(category.get("id")) is int
        and isinstance(category.get("name"), str)
    }


def _attribute(entry: Json) -> object:
    """The id that CVAT has kept; an attribute that was never filled is none."""
    attributes = entry.get("attributes")
    value = attributes.get(ID) if isinstance(attributes, dict) else None
    return None if value == "" else value


def _shape(
    entry: Json,
    where: str,
    key: object,
    images: dict[object, Json],
    names: dict[object, str],
    problems: list[str],
) -> Iterator[Shape]:
    if isinstance(key, str) and WHOLE_NUMBER.fullmatch(key):
        key = int(key)
    if isinstance(key, float) and key.is_integer():
        key = int(key)
    if key is not None and type(key) is not int:
        problems.append(f"{where} has the id {reprlib.repr(key)}, which is no whole number.")
        return
    image_id = entry.get("image_id")
    image = images.get(image_id) if type(image_id) is int else None
    if image is None:
        problems.append(f"{where} is on image {reprlib.repr(image_id)}, which is not in the list.")
        return
    sides = image.get("width"), image.get("height")
    known = all(type(side) is int for side in sides)
    file_name, category_id = image.get("file_name"), entry.get("category_id")
    yield Shape(
        where=where,
        key=key,
        group="shape",
        file_name=file_name if isinstance(file_name, str) else None,
        size=(sides[0], sides[1]) if known else None,  # type: ignore[arg-type] # as asked above
        category=names.get(category_id) if type(category_id) is int else None,
        draw=partial(entry.__getitem__, "segmentation"),
    )
