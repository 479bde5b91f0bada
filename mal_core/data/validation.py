"""What can be wrong with the entries of a COCO file, and what each of them becomes.

Nothing here opens an image. Every problem names the entry's id, what was seen, what
is wanted and what to do; all problems of a file are collected before any is raised.
"""

import math
import reprlib
from collections.abc import Iterator, Mapping
from typing import Any

from mal_core.types import BoxAnnotation, Category, ImageRecord, SkippedBox, SkipReason

Entry = dict[str, Any]
Fields = Mapping[str, tuple[type, str]]

ALLOWED_OVERHANG = 2.0
"""Px by which real COCO boxes may reach over the image's border; they are clipped."""
ROUNDING = 1e-6
"""Px of overhang that come from adding two decimal fractions and mean nothing."""

ENTRY_LISTS = ("images", "annotations", "categories")
CATEGORY_FIELDS: Fields = {"id": (int, "a whole number"), "name": (str, "a text")}
IMAGE_FIELDS: Fields = {
    "id": (int, "a whole number"),
    "file_name": (str, "a text"),
    "height": (int, "a whole number of pixels"),
    "width": (int, "a whole number of pixels"),
}
ANNOTATION_FIELDS: Fields = {
    "id": (int, "a whole number"),
    "image_id": (int, "a whole number"),
    "category_id": (int, "a whole number"),
    "bbox": (list, "a list [x, y, width, height] in px"),
}


def structure_problems(content: object) -> list[str]:
    """Why a JSON value is no COCO object; without any, its three lists can be read."""
    if not isinstance(content, dict):
        return [
            f"not a COCO file: a JSON {type(content).__name__} instead of an object with the "
            f"lists {', '.join(ENTRY_LISTS)}."
        ]
    problems = []
    for key in ENTRY_LISTS:
        if key not in content:
            problems.append(f"not a COCO file: the list {key!r} is missing. Add it.")
        elif not isinstance(content[key], list):
            kind = type(content[key]).__name__
            problems.append(f"not a COCO file: {key!r} is a {kind}, but must be a list.")
    return problems


def label_of(kind: str, index: int, entry: object) -> str:
    """How messages call an entry: by where it came from, its id, or its place in the list."""
    entry_id = entry.get("id") if isinstance(entry, dict) else None
    origin = entry.get("origin") if isinstance(entry, dict) else None
    if isinstance(origin, str):  # converted from a format that has no ids of its own
        return origin
    if type(entry_id) is int:
        return f"{kind} {entry_id}"
    return f"{kind} at position {index} (counted from 0)"


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


class CategoryTable:
    """The categories of a file, checked."""

    def __init__(self) -> None:
        self.categories: list[Category] = []
        self.problems: list[str] = []
        self.ids: set[int] = set()
        self._id_of_name: dict[str, int] = {}

    def add(self, index: int, entry: Entry) -> None:
        """Take one entry or note what is wrong with it."""
        label = label_of("category", index, entry)
        wrong = list(field_problems(entry, CATEGORY_FIELDS))
        self.problems.extend(f"{label} {problem}" for problem in wrong)
        # A known id stays known when its name is broken: one mistake, one message.
        category_id = entry.get("id") if isinstance(entry, dict) else None
        if type(category_id) is not int:
            return
        if category_id in self.ids:
            self.problems.append(f"{label} occurs more than once. Give every category its own id.")
        self.ids.add(category_id)
        if not wrong:
            self._add_name(label, category_id, entry["name"])

    def _add_name(self, label: str, category_id: int, name: str) -> None:
        first = self._id_of_name.setdefault(name, category_id)
        if first != category_id:
            self.problems.append(
                f"{label} has the name {name!r} of category {first}. Merge or rename one of them."
            )
        self.categories.append(Category(category_id=category_id, name=name))


class ImageTable:
    """The image entries of a file, checked; no image is opened."""

    def __init__(self) -> None:
        self.records: list[ImageRecord] = []
        self.problems: list[str] = []
        self.size_of: dict[int, tuple[int, int] | None] = {}
        """Width and height by id; None where the entry does not tell."""

    def add(self, index: int, entry: Entry) -> None:
        """Take one entry or note what is wrong with it."""
        label = label_of("image", index, entry)
        wrong = list(field_problems(entry, IMAGE_FIELDS)) or list(_image_problems(entry))
        image_id = entry.get("id") if isinstance(entry, dict) else None
        if type(image_id) is int:
            if image_id in self.size_of:
                wrong.append("occurs more than once. Give every image its own id.")
            self.size_of[image_id] = None if wrong else (entry["width"], entry["height"])
        self.problems.extend(f"{label} {problem}" for problem in wrong)
        if not wrong:
            self.records.append(
                ImageRecord(
                    image_id=entry["id"],
                    file_name=entry["file_name"],
                    height=entry["height"],
                    width=entry["width"],
                )
            )


def _image_problems(entry: Entry) -> Iterator[str]:
    width, height, name = entry["width"], entry["height"], entry["file_name"]
    if width <= 0 or height <= 0:
        yield f"has the size {width} x {height}, but both sides must be at least 1 px."
    if not name:
        yield "has an empty file_name. Write the path of its image, relative to the folder."
    if name.startswith("/") or ".." in name.replace("\\", "/").split("/"):
        yield (f"has file_name={name!r}, which leaves the images folder. Write a path inside it.")


class BoxTable:
    """The annotations of a file, checked and reduced to boxes.

    Args:
        images: Sizes that boxes must fit.
        category_ids: What annotations may refer to.
        strict: Also refuse overhang of up to 2 px, zero-size boxes and crowds.
        crowds_as_objects: Take the box of a crowd like any other (spec Q5).
    """

    def __init__(
        self,
        images: ImageTable,
        category_ids: set[int],
        *,
        strict: bool,
        crowds_as_objects: bool = False,
    ) -> None:
        self._crowds_as_objects = crowds_as_objects
        self.boxes: list[BoxAnnotation] = []
        self.skipped: list[SkippedBox] = []
        self.problems: list[str] = []
        self.num_crowds = 0
        self.num_clipped = 0
        self._size_of = images.size_of
        self._category_ids = category_ids
        self._strict = strict
        self._seen: set[int] = set()

    def add(self, index: int, entry: Entry) -> None:
        """Take one annotation or note everything that is wrong with it."""
        wrong = list(field_problems(entry, ANNOTATION_FIELDS))
        if isinstance(entry, dict):
            wrong += self._reference_problems(entry)
            wrong += self._box_problems(entry)
        if wrong:
            label = label_of("annotation", index, entry)
            self.problems.extend(f"{label} {problem}" for problem in wrong)
        else:
            self._keep(entry)

    def _reference_problems(self, entry: Entry) -> Iterator[str]:
        annotation_id, image_id = entry.get("id"), entry.get("image_id")
        category_id, crowd = entry.get("category_id"), entry.get("iscrowd", 0)
        if type(annotation_id) is int:
            if annotation_id in self._seen:
                yield "occurs more than once. Give every annotation its own id."
            self._seen.add(annotation_id)
        if type(image_id) is int and image_id not in self._size_of:
            yield f"has image_id={image_id}, but no image has that id. Add it or drop the box."
        if type(category_id) is int and category_id not in self._category_ids:
            yield (
                f"has category_id={category_id}, but no category has that id. "
                "Add the category or drop the box."
            )
        if crowd not in (0, 1):
            yield f"has iscrowd={reprlib.repr(crowd)}, but it must be 0 or 1."
        elif crowd and self._strict:
            yield "is a crowd, which data.strict=true refuses."

    def _box_problems(self, entry: Entry) -> Iterator[str]:
        box = entry.get("bbox")
        if type(box) is not list:
            return
        problem = box_problem(box)
        if problem is not None:
            yield problem
            return
        image_id = entry.get("image_id")
        size = self._size_of.get(image_id) if type(image_id) is int else None
        if size is None:
            return
        problem = place_problem(box, size)
        if problem is not None:
            yield problem
        elif self._strict and not entry.get("iscrowd"):
            yield from _strict_problems(box, size)

    def _keep(self, entry: Entry) -> None:
        if entry.get("iscrowd") and not self._crowds_as_objects:
            self.num_crowds += 1
            return
        box, size = entry["bbox"], self._size_of[entry["image_id"]]
        if size is None:  # its image has a problem of its own, which ends the reading
            return
        if box[2] == 0 or box[3] == 0:
            self.skipped.append(
                SkippedBox(
                    annotation_id=entry["id"],
                    image_id=entry["image_id"],
                    reason=SkipReason.ZERO_SIZE_BOX,
                )
            )
            return
        self.num_clipped += overhang(box, size) > ROUNDING
        self.boxes.append(
            BoxAnnotation(
                annotation_id=entry["id"],
                image_id=entry["image_id"],
                category_id=entry["category_id"],
                box_xyxy=clip_box(box, size),
            )
        )


def box_problem(box_xywh: list[Any]) -> str | None:
    """What is wrong with a box by itself, if anything."""
    if len(box_xywh) != 4 or any(type(value) not in (int, float) for value in box_xywh):
        seen = reprlib.repr(box_xywh)
        return f"has bbox={seen}, but it must be four numbers [x, y, width, height] in px."
    if not all(-math.inf < value < math.inf for value in box_xywh):
        return f"has bbox={box_xywh} with a NaN or infinite number. Correct or drop the box."
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
        return f"has bbox={box_xywh}, which lies wholly outside {where}. Correct or drop the box."
    return None


def _strict_problems(box_xywh: list[float], size: tuple[int, int]) -> Iterator[str]:
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


def find_constant(value: object) -> bool:
    """Whether a JSON value holds NaN or an infinity anywhere."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(find_constant(part) for part in value.values())
    return isinstance(value, list) and any(find_constant(part) for part in value)
