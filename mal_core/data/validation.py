"""What can be wrong with the entries of a COCO file, and what each of them becomes.

Nothing here opens an image. Every problem names the entry's id, what was seen, what
is wanted and what to do; all problems of a file are collected before any is raised.
"""

import math
import reprlib
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

from mal_core.data.crowding import FEDERATED_FIELDS, has_frequency, num_federated
from mal_core.data.foreign import Relatives, foreign_json
from mal_core.geometry.boxes import ALLOWED_OVERHANG, ROUNDING
from mal_core.processes.files import LONGEST_NAME, longest_name
from mal_core.types import Category, ImageRecord

Entry = dict[str, Any]
Fields = Mapping[str, tuple[type, str]]

SHARED_NAME = (
    "image entries have the file_name of another: each is an image of its own, with its own boxes"
)
ENTRY_LISTS = ("images", "annotations", "categories")
LISTED = ("images", "categories")
"""What a file has that only says which images there are."""
CATEGORY_FIELDS: Fields = {"id": (int, "a whole number"), "name": (str, "a text")}
IMAGE_FIELDS: Fields = {
    "id": (int, "a whole number"),
    "file_name": (str, "a text"),
    "height": (int, "a whole number of pixels"),
    "width": (int, "a whole number of pixels"),
}
IMAGE_SIZE_FIELDS = {key: kind for key, kind in IMAGE_FIELDS.items() if key != "file_name"}
ANNOTATION_FIELDS: Fields = {
    "id": (int, "a whole number"),
    "image_id": (int, "a whole number"),
    "category_id": (int, "a whole number"),
    "bbox": (list, "a list [x, y, width, height] in px"),
}
LENGTH_HINTS = {
    5: " Is the fifth an angle? Write its four corners as rotated_box, and what is around as bbox",
    8: " Are these four corners? Write them as rotated_box, and what is around as bbox",
}
"""What a `bbox` of so many numbers may be."""
LARGEST = 2**53
"""Px; whole numbers beyond lose digits as floats, those beyond 2^1024 are none."""


def structure_problems(content: object, lists: Sequence[str] = ENTRY_LISTS) -> list[str]:
    """Why a JSON value is no COCO object; without any, the lists can be read."""
    foreign = foreign_json(content)
    complete = isinstance(content, dict) and all(key in content for key in lists)
    if foreign is not None and not complete:
        return [f"not a COCO file: {foreign}."]
    if not isinstance(content, dict):
        return [
            f"not a COCO file: a JSON {type(content).__name__} instead of an object with the "
            f"lists {', '.join(lists)}."
        ]
    problems = []
    for key in lists:
        if key not in content:
            problems.append(f"not a COCO file: the list {key!r} is missing. Add it.")
        elif not isinstance(content[key], list):
            kind = type(content[key]).__name__
            problems.append(f"not a COCO file: {key!r} is a {kind}, but must be a list.")
    return problems


def label_of(kind: str, index: int, entry: object, *, origins: bool = False) -> str:
    """How messages call an entry: by its id, or its place in the list.

    Args:
        origins: The file was converted from a format without ids of its own, and `origin`
            says where an entry came from. In a user's file it is a key like any other.
    """
    entry_id = entry.get("id") if isinstance(entry, dict) else None
    origin = entry.get("origin") if isinstance(entry, dict) else None
    if origins and isinstance(origin, str):
        return origin
    if type(entry_id) is int:
        return f"{kind} {entry_id}"
    return f"{kind} at position {index} (counted from 0)"


def column(entries: Sequence[Mapping[str, Any]], key: str, default: object = None) -> list[Any]:
    """The values of one key, `default` where an entry has none.

    Raises:
        AttributeError, TypeError: An entry is no object.
    """
    try:
        return list(map(itemgetter(key), entries))
    except KeyError:
        return [entry.get(key, default) for entry in entries]


def field_problems(entry: object, fields: Fields) -> Iterator[str]:
    """Required fields that are missing or of the wrong type."""
    if not isinstance(entry, dict):
        yield f"is {reprlib.repr(entry)}, but must be an object. Correct or drop it."
        return
    for name, (kind, wanted) in fields.items():
        if name not in entry:
            yield f"has no {name!r}. Add {wanted}, or drop the entry."
        elif type(entry[name]) is not kind:
            seen = reprlib.repr(entry[name])
            yield f"has {name}={seen}, but it must be {wanted}."


def _name_problems(name: str) -> Iterator[str]:
    if not name.strip():
        yield "has an empty name, which labels in YOLO or VOC could not say. Name the class."
    yield from _text_problems("name", name)


class CategoryTable:
    """The categories of a file, checked."""

    def __init__(self, *, origins: bool = False) -> None:
        self._origins = origins
        self.categories: list[Category] = []
        self.problems: list[str] = []
        self.ids: set[int] = set()
        self.has_frequencies = False
        self._id_of_name: dict[str, int] = {}

    def add(self, index: int, entry: Entry) -> None:
        """Take one entry or note what is wrong with it."""
        label = label_of("category", index, entry, origins=self._origins)
        wrong = list(field_problems(entry, CATEGORY_FIELDS)) or list(_name_problems(entry["name"]))
        self.problems.extend(f"{label} {problem}" for problem in wrong)
        # A known id stays known when its name is broken: one mistake, one message.
        category_id = entry.get("id") if isinstance(entry, dict) else None
        if type(category_id) is not int:
            return
        if category_id in self.ids:
            self.problems.append(f"{label} occurs more than once. Give every category its own id.")
        self.ids.add(category_id)
        if not wrong:
            self.has_frequencies |= has_frequency(entry)
            self._add_name(label, category_id, entry["name"].strip())

    def _add_name(self, label: str, category_id: int, name: str) -> None:
        first = self._id_of_name.setdefault(name, category_id)
        if first != category_id:
            self.problems.append(
                f"{label} has the name {name!r} of category {first}. Merge or rename one of them."
            )
        self.categories.append(Category(category_id=category_id, name=name))


class ImageTable:
    """The image entries of a file, checked; no image is opened.

    Args:
        named: Each must have a `file_name`.
        origins: As for `label_of`.
    """

    def __init__(self, *, named: bool = True, origins: bool = False) -> None:
        self._fields = IMAGE_FIELDS if named else IMAGE_SIZE_FIELDS
        self._origins = origins
        self.records: list[ImageRecord] = []
        self.problems: list[str] = []
        self.size_of: dict[int, tuple[int, int] | None] = {}
        """Width and height by id; None where the entry does not tell."""
        self.relatives = Relatives()
        self.num_federated = 0
        """Images that say as LVIS's do what was looked for on them."""
        self._names: set[str] = set()
        self._num_shared = 0

    def notes(self) -> dict[str, int]:
        """What is unusual and not wrong, counted."""
        return {SHARED_NAME: self._num_shared} if self._num_shared else {}

    def add_sound(self, entries: Sequence[Entry]) -> bool:
        """Take entries that are all sound beyond doubt; otherwise nothing is taken."""
        if self._origins or "file_name" not in self._fields:
            return False
        try:
            columns = [list(map(itemgetter(key), entries)) for key in self._fields]
        except (KeyError, TypeError):
            return False
        ids, names, heights, widths = columns
        kinds = [kind for kind, _ in self._fields.values()]
        if any({*map(type, one)} != {kind} for one, kind in zip(columns, kinds, strict=True)):
            return False
        fresh = dict(zip(ids, zip(widths, heights, strict=True), strict=True))
        if len(fresh) < len(ids) or not fresh.keys().isdisjoint(self.size_of):
            return False
        if min(chain(heights, widths)) <= 0 or not _are_plain_names(names):
            return False
        federated = num_federated(entries)
        if federated and any(map(any, map(_federated_problems, entries))):
            return False
        self.size_of.update(fresh)
        before = len(self._names)
        self._names.update(names)
        self._num_shared += len(names) - (len(self._names) - before)
        self.records += map(_record, ids, names, heights, widths)
        self.num_federated += federated
        return True

    def add(self, index: int, entry: Entry) -> None:
        """Take one entry or note what is wrong with it."""
        label = label_of("image", index, entry, origins=self._origins)
        image_id = entry.get("id") if isinstance(entry, dict) else None
        if "file_name" in self._fields and self.relatives.takes(entry, "file_name", label):
            if type(image_id) is int:
                self.size_of[image_id] = None
            return
        wrong = list(field_problems(entry, self._fields)) or list(image_entry_problems(entry))
        if type(image_id) is int:
            if image_id in self.size_of:
                wrong.append("occurs more than once. Give every image its own id.")
            self.size_of[image_id] = None if wrong else (entry["width"], entry["height"])
        self.problems.extend(f"{label} {problem}" for problem in wrong)
        if not wrong:
            self.num_federated += num_federated([entry])
            name = entry.get("file_name")
            if isinstance(name, str):
                self._num_shared += name in self._names
                self._names.add(name)
            self.records.append(
                ImageRecord(
                    image_id=entry["id"],
                    file_name=str(entry.get("file_name", "")),
                    height=entry["height"],
                    width=entry["width"],
                    origin=label if label != f"image {entry['id']}" else "",
                )
            )


def _record(image_id: int, name: str, height: int, width: int) -> ImageRecord:
    return ImageRecord(image_id=image_id, file_name=name, height=height, width=width)


def _are_plain_names(names: Sequence[str]) -> bool:
    """Whether `image_entry_problems` can find nothing in any of these file names."""
    text = "\n".join(names)
    if not text.isascii() or "\0" in text or ".." in text or "\n/" in text:
        return False
    return all(names) and not text.startswith("/") and max(map(len, names)) <= LONGEST_NAME


def image_entry_problems(entry: Entry) -> Iterator[str]:
    """What is wrong with the size or the name that a complete entry states."""
    width, height, name = entry["width"], entry["height"], entry.get("file_name")
    if width <= 0 or height <= 0:
        yield f"has the size {width} x {height}, but both sides must be at least 1 px."
    if not isinstance(name, str):
        return
    if not name:
        yield "has an empty file_name. Write the path of its image, relative to the folder."
    if longest := longest_name(name):
        yield (
            f"has file_name={reprlib.repr(name)} with a name of {longest} bytes, which no file "
            "system takes. Correct it or drop the image."
        )
    if name.startswith("/") or ".." in name.replace("\\", "/").split("/"):
        yield (f"has file_name={name!r}, which leaves the images folder. Write a path inside it.")
    yield from _text_problems("file_name", name)
    yield from _federated_problems(entry)


def _federated_problems(entry: Entry) -> Iterator[str]:
    """Lists of classes that were looked for, as LVIS has them, that are none."""
    for field in sorted(FEDERATED_FIELDS) if num_federated([entry]) else ():
        if not _are_ids(entry[field]):
            yield (
                f"has {field}={reprlib.repr(entry[field])}, but it must be a list of category ids. "
                "Write [] where there are none."
            )


def _are_ids(value: object) -> bool:
    return isinstance(value, list) and {*map(type, value)} <= {int}


def _text_problems(field: str, text: str) -> Iterator[str]:
    """Characters that no file system and no terminal takes."""
    if text.isascii() and "\0" not in text:
        return
    if "\0" in text:
        yield f"has {field}={text!r} with a NUL character. Write it without."
    if any("\ud800" <= character <= "\udfff" for character in text):
        yield (
            f"has {field}={text!r} with half of a character (a lone surrogate). Write the file as "
            "UTF-8."
        )


def find_constant(value: object) -> bool:
    """Whether a JSON value holds NaN or an infinity anywhere."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(find_constant(part) for part in value.values())
    return isinstance(value, list) and any(find_constant(part) for part in value)


def constant_problem(entry: Mapping[str, Any], but: Container[str] = ()) -> str | None:
    """Which fields of an entry hold numbers that JSON does not have."""
    names = [name for name, part in entry.items() if name not in but and find_constant(part)]
    if not names:
        return None
    shown = ", ".join(name if name.isprintable() else repr(name) for name in names)
    return (
        f"has a NaN or infinite number in {shown}, which JSON does not allow. "
        "Correct or drop the value."
    )


def is_real(value: object) -> bool:
    """Whether a value from JSON is a number, and no boolean."""
    return type(value) in (int, float)


def crowd_problem(crowd: object) -> str:
    """What is wrong with an `iscrowd` that says neither yes nor no."""
    return f"has iscrowd={reprlib.repr(crowd)}, but it must be 0 or 1."


def box_problem(box_xywh: list[Any]) -> str | None:
    """What is wrong with a box by itself, if anything."""
    if len(box_xywh) != 4 or not all(map(is_real, box_xywh)):
        seen = reprlib.repr(box_xywh)
        hint = LENGTH_HINTS.get(len(box_xywh)) if all(map(is_real, box_xywh)) else None
        told = f"{hint}." if hint else ""
        return f"has bbox={seen}, but it must be four numbers [x, y, width, height] in px.{told}"
    if any(abs(value) > LARGEST for value in box_xywh if type(value) is int):
        return f"has bbox={reprlib.repr(box_xywh)}, which lies wholly outside of any image."
    if not all(map(math.isfinite, box_xywh)):
        seen = reprlib.repr(box_xywh)
        return f"has bbox={seen} with a NaN or infinite number. Correct or drop the box."
    if box_xywh[2] < 0 or box_xywh[3] < 0:
        return (
            f"has bbox={reprlib.repr(box_xywh)} with a negative size; COCO boxes are "
            "[x, y, width, height]. Correct or drop the box."
        )
    return None


def overhang(box_xywh: list[float], size: tuple[int, int]) -> float:
    """Px by which a box reaches over the border of an image of (width, height), or <= 0."""
    x, y, width, height = box_xywh
    return max(-x, -y, x + width - size[0], y + height - size[1])


def place_problem(box_xywh: list[float], size: tuple[int, int]) -> str | None:
    """Why a box does not fit its image of (width, height), if it does not."""
    x, y, width, height = box_xywh
    where = f"the image of {size[0]} x {size[1]} px"
    reach = overhang(box_xywh, size)
    if reach > ALLOWED_OVERHANG + ROUNDING:
        beside = x >= size[0] or y >= size[1] or x + width <= 0 or y + height <= 0
        seen = "lies wholly outside" if beside else f"reaches {reach:.6g} px over the border of"
        return (
            f"has bbox={box_xywh}, which {seen} {where}; up to {ALLOWED_OVERHANG:g} px would be "
            "clipped. Correct or drop the box."
        )
    x0, y0, x1, y1 = clip_box(box_xywh, size)
    if width > 0 and height > 0 and (x1 <= x0 or y1 <= y0):
        thin = x + width == x or y + height == y
        seen = "is too thin to be of anything in" if thin else "lies wholly outside"
        return f"has bbox={box_xywh}, which {seen} {where}. Correct or drop the box."
    return None


def strict_problems(box_xywh: list[float], size: tuple[int, int]) -> Iterator[str]:
    """What `data.strict=true` refuses of a box that fits its image of (width, height)."""
    if box_xywh[2] == 0 or box_xywh[3] == 0:
        yield f"has bbox={box_xywh} of zero size, which data.strict=true refuses."
    reach = overhang(box_xywh, size)
    if reach > ROUNDING:
        yield (
            f"has bbox={box_xywh}, which reaches {reach:.3g} px over the border of the image of "
            f"{size[0]} x {size[1]} px; data.strict=true refuses that."
        )


def clip_box(box_xywh: list[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """A box [x, y, width, height] as x0, y0, x1, y1 inside an image of (width, height)."""
    x, y, width, height = box_xywh
    return (
        float(max(x, 0)),
        float(max(y, 0)),
        float(min(x + width, size[0])),
        float(min(y + height, size[1])),
    )
