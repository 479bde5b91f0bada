"""Sizes of images that an annotation file does not state, or exchanges."""

from collections.abc import Callable, Sequence
from typing import Any

from mal_core.data.validation import box_problem, label_of
from mal_core.geometry.boxes import ALLOWED_OVERHANG

Json = dict[str, Any]
Note = Callable[[str, str, str], None]


def with_sizes(
    content: Json, stored: Callable[[str], tuple[int, int] | None], note: Note
) -> list[Any]:
    """Entries of images, with the size of the file where they state none, or width for height.

    Width and height are exchanged only where the boxes of the image then lie in it: others were
    drawn on a photo that was turned since.

    Args:
        content: The file.
        stored: Width and height of an image's pixels by its name, px; None where unknown.
        note: Told of changes.
    """
    found = []
    reach = _reaches(content["annotations"])
    for index, entry in enumerate(content["images"]):
        named = isinstance(entry, dict) and isinstance(entry.get("file_name"), str)
        said = (entry.get("width"), entry.get("height")) if named else ()
        absent = any(type(side) is not int or side <= 0 for side in said)
        size = stored(entry["file_name"]) if named else None
        exchanged = size is not None and (
            said == size[::-1] != size and _fit(reach.get(repr(entry.get("id"))), size)
        )
        if size is None or not (absent or exchanged):
            found.append(entry)
            continue
        why = "states no size" if absent else "has width and height exchanged"
        note("corrected", label_of("image", index, entry), f"{why}: {size[0]} x {size[1]}")
        found.append({**entry, "width": size[0], "height": size[1]})
    return found


def _fit(reach: tuple[float, float] | None, size: tuple[int, int]) -> bool:
    x, y = reach or (0, 0)
    return x <= size[0] + ALLOWED_OVERHANG and y <= size[1] + ALLOWED_OVERHANG


def _reaches(annotations: Sequence[Any]) -> dict[str, tuple[float, float]]:
    """How far right and down the boxes of each image reach, px, by the image's id as text."""
    found: dict[str, tuple[float, float]] = {}
    for entry in annotations:
        box = entry.get("bbox") if isinstance(entry, dict) else None
        if isinstance(box, list) and box_problem(box) is None:
            image_id = repr(entry.get("image_id"))
            x, y = found.get(image_id, (0.0, 0.0))
            found[image_id] = max(x, box[0] + box[2]), max(y, box[1] + box[3])
    return found
