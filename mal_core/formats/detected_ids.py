"""What is wrong with the image and the class that a detection names, and what was meant."""

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from mal_core.data.images.names import canonical, without_upload_prefix
from mal_core.data.inspection.number_repair import number_of, only_owners

Json = dict[str, Any]
FILE_NAME = "file_name"


class KnownIds:
    """Images and classes of the annotation file that detections refer to.

    Args:
        coco: Object with `images` and `categories`.
    """

    def __init__(self, coco: Mapping[str, Sequence[Json]]) -> None:
        self._names = {one["id"]: _stem(str(one.get(FILE_NAME))) for one in coco["images"]}
        self._class_of = {one["id"]: str(one["name"]).strip() for one in coco["categories"]}
        self._image_of = only_owners((name, key) for key, name in self._names.items())
        self._number_of = only_owners((name, key) for key, name in self._class_of.items())

    def problems(self, entry: Json) -> Iterator[str]:
        """What is wrong with the two ids of a detection, each with what to do."""
        image, category = entry["image_id"], entry["category_id"]
        if type(image) is not int or image not in self._names:
            seen = f"has image_id={reprlib.repr(image)}, which the annotation file lacks."
            yield f"{seen} {self._meant_image(image)}"
        elif (other := self._other_image(image, entry.get(FILE_NAME))) is not None:
            yield (
                f"has image_id={image} and file_name={reprlib.repr(entry[FILE_NAME])}, which is "
                f"the name of image {other}. Correct one of the two."
            )
        if type(category) is not int or category not in self._class_of:
            seen = f"has category_id={reprlib.repr(category)}, which no category has."
            yield f"{seen} {self._meant_class(category)}"

    def _other_image(self, image: int, given: object) -> int | None:
        """The image that an entry names besides its id, where that is another one."""
        named = self._image_of.get(_stem(given)) if isinstance(given, str) else None
        return None if named == image else named

    def _meant_image(self, value: object) -> str:
        number = number_of(value)
        if type(number) is int and number in self._names:
            return f"Write the number {number}."
        meant = self._image_of.get(_stem(value)) if isinstance(value, str) else None
        if meant is not None:
            return f"It is the name of image {meant}: write that number."
        return "Write the id of an image of that file, or drop the entry."

    def _meant_class(self, value: object) -> str:
        number = number_of(value)
        if type(number) is int and number in self._class_of:
            return f"Write the number {number}."
        meant = self._number_of.get(value.strip()) if isinstance(value, str) else None
        if meant is not None:
            return f"It is the name of category {meant}: write that number."
        if value == 0 and min(self._class_of, default=0) == 1:
            return "Are classes counted from 0 here? Those of the file are counted from 1."
        return "Write the id of a category of that file, or drop the entry."


def _stem(name: str) -> str:
    return PurePosixPath(without_upload_prefix(canonical(name))).stem
