"""A COCO file with what is wrong in it put right or taken out, and a list of all changes.

Only what has one meaning is put right: a box that its own mask tells, points that are to be
flattened, an id that occurs twice. Where there is a choice, the entry goes, and the list says why.
"""

import reprlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mal_core.data.inspection.box_by_mask import is_beside, other_form
from mal_core.data.inspection.form_repair import WrittenForm, find_form
from mal_core.data.inspection.mask_repair import box_of_mask, repaired_mask
from mal_core.data.rotated_boxes import (
    ROTATED,
    are_corners,
    extent_xywh,
    is_around,
    rotated_problems,
)
from mal_core.data.validation import (
    ANNOTATION_FIELDS,
    CATEGORY_FIELDS,
    IMAGE_FIELDS,
    box_problem,
    clip_box,
    constant_problem,
    field_problems,
    find_constant,
    image_entry_problems,
    is_real,
    label_of,
    overhang,
    place_problem,
)
from mal_core.geometry.box_forms import XYWH, to_xyxy
from mal_core.geometry.boxes import ROUNDING

Json = dict[str, Any]
Note = Callable[[str, str, str], None]
"""Told what was done, to which entry, and why."""
BOX_FIELD = {"bbox": ANNOTATION_FIELDS["bbox"]}
CATEGORY_ID = {"id": CATEGORY_FIELDS["id"]}
LEAST_INSIDE = 0.5
"""Share of a box inside its image from which on it is clipped: less of it is no overhang."""
CHANGES = ("dropped", "corrected", "renumbered", "merged")


@dataclass(frozen=True, kw_only=True, slots=True)
class RepairChange:
    """One change.

    Attributes:
        what: One of `CHANGES`.
        entry: The entry, as messages call it.
        why: What was wrong, and what it is now.
    """

    what: str
    entry: str
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Repaired:
    """A repaired file and how it came about."""

    content: Json
    changes: tuple[RepairChange, ...]

    def counts(self) -> dict[str, int]:
        """Changes by what was done."""
        return dict(Counter(change.what for change in self.changes))


def repair(
    content: Json, unusable: Mapping[int, str], *, need_masks: bool, origins: bool = False
) -> Repaired:
    """Put a COCO object right.

    Args:
        content: With the three lists; it is not changed.
        unusable: Images that cannot be used, by id, and why.
        need_masks: The file scores segmenters: what has no sound mask becomes a crowd, which
            is neither hit nor miss. Without it would be a miss for every right prediction.
        origins: As for `label_of`.
    """
    work = _Repair(unusable, need_masks=need_masks, origins=origins)
    plain = {
        key: value
        for key, value in content.items()
        if key in ("categories", "images", "annotations") or not find_constant(value)
    }
    for key in content.keys() - plain.keys():
        work.note("dropped", f"the key {key!r}", "holds NaN or an infinity")
    categories = list(work.categories(content["categories"]))
    images = list(work.images(content["images"]))
    annotations = list(work.annotations(content["annotations"]))
    new = {**plain, "categories": categories, "images": images, "annotations": annotations}
    return Repaired(content=new, changes=tuple(work.changes))


class _Repair:
    """The lists of one file, in the order in which one refers to the other."""

    def __init__(self, unusable: Mapping[int, str], *, need_masks: bool, origins: bool) -> None:
        self.changes: list[RepairChange] = []
        self._unusable, self._need_masks, self._origins = unusable, need_masks, origins
        self._category_of: dict[int, int] = {}
        self._size_of: dict[int, tuple[int, int]] = {}
        self._gone: set[int] = set()
        self._names_of: Mapping[int, Sequence[str]] = {}
        self._written = WrittenForm()

    def note(self, what: str, entry: str, why: str) -> None:
        """Remember a change."""
        self.changes.append(RepairChange(what=what, entry=entry, why=why))

    def _label(self, kind: str, index: int, entry: object) -> str:
        return label_of(kind, index, entry, origins=self._origins)

    def categories(self, entries: Sequence[Any]) -> Iterator[Json]:
        """Classes with a number and a name of their own."""
        number_of: dict[str, int] = {}
        for index, entry in enumerate(entries):
            label = self._label("category", index, entry)
            wrong = next(field_problems(entry, CATEGORY_ID), None)
            if wrong is None and entry["id"] in self._category_of:
                wrong = "its id is that of an earlier category"
            if wrong is not None:
                self.note("dropped", label, wrong)
                continue
            entry = self._named(label, entry)
            name = entry["name"].strip()
            first = number_of.setdefault(name, entry["id"])
            self._category_of[entry["id"]] = first
            if first != entry["id"]:
                self.note("merged", label, f"has the name {name!r} of category {first}")
                continue
            yield self._without_constants(label, entry)

    def _named(self, label: str, entry: Json) -> Json:
        """A class with a name that is a text; without one it is called by its number."""
        given = entry.get("name")
        if isinstance(given, str) and given.strip():
            return entry
        name = str(given) if is_real(given) else f"class {entry['id']}"
        seen = f"has name={reprlib.repr(given)}" if given is not None else "has no name"
        self.note("corrected", label, f"{seen}; is {name!r} now")
        return {**entry, "name": name}

    def images(self, entries: Sequence[Any]) -> Iterator[Json]:
        """Images with an id of their own and a file that can be used."""
        self._names_of = _names_by_id(entries)
        for index, entry in enumerate(entries):
            label = self._label("image", index, entry)
            why = self._image_problem(entry)
            image_id = entry.get("id") if isinstance(entry, dict) else None
            if why is not None:
                self.note("dropped", label, why)
                if type(image_id) is int and image_id not in self._size_of:
                    self._gone.add(image_id)
                continue
            self._size_of[entry["id"]] = entry["width"], entry["height"]
            yield self._without_constants(label, entry)

    def _image_problem(self, entry: Any) -> str | None:
        wrong = next(field_problems(entry, IMAGE_FIELDS), None)
        if wrong is not None:
            return wrong
        names = self._names_of.get(entry["id"], ())
        if len(names) > 1:
            shown = " and ".join(map(reprlib.repr, names[:2]))
            return f"its id is that of {shown}: whose boxes these are nobody can tell"
        if entry["id"] in self._size_of:
            return "its id is that of an earlier image"
        return next(image_entry_problems(entry), None) or self._unusable.get(entry["id"])

    def annotations(self, entries: Sequence[Any]) -> Iterator[Json]:
        """Annotations with an id of their own, a box inside their image, a sound mask or none."""
        used = {
            entry["id"]
            for entry in entries
            if isinstance(entry, dict) and type(entry.get("id")) is int
        }
        following, seen = max(used, default=0) + 1, set[int]()
        self._written = find_form(entries, self._size_of, origins=self._origins)
        for index, entry in enumerate(entries):
            label = self._label("annotation", index, entry)
            why = self._reference_problem(entry)
            if why is not None:
                self.note("dropped", label, why)
                continue
            new = self._without_constants(label, entry)
            if type(new.get("id")) is not int or new["id"] in seen:
                why = "has no id of its own" if "id" in entry else "has no id"
                self.note("renumbered", label, f"{why}: it gets {following}")
                new["id"], following = following, following + 1
            seen.add(new["id"])
            new["category_id"] = self._category_of[new["category_id"]]
            fitted = self._fitted(label, new)
            if fitted is not None:
                yield fitted

    def _reference_problem(self, entry: Any) -> str | None:
        if not isinstance(entry, dict):
            return "is no object"
        fields = {key: ANNOTATION_FIELDS[key] for key in ("image_id", "category_id")}
        wrong = next(field_problems(entry, fields), None)
        if wrong is not None:
            return wrong
        if entry["image_id"] in self._gone:
            return f"its image {entry['image_id']} was dropped"
        if entry["image_id"] not in self._size_of:
            return f"has image_id={entry['image_id']}, but no image has that id"
        if entry["category_id"] not in self._category_of:
            return f"has category_id={entry['category_id']}, but no category has that id"
        return None

    def _fitted(self, label: str, entry: Json) -> Json | None:
        """The annotation with a box and a mask that fit its image; None where it has no box."""
        size = self._size_of[entry["image_id"]]
        crowd = entry.get("iscrowd", 0)
        if isinstance(crowd, str):
            self.note("dropped", label, f"has iscrowd={crowd!r}, which may mean either")
            return None
        if crowd not in (0, 1) or type(crowd) is float:
            self._set(label, entry, "iscrowd", int(bool(crowd)), "must be 0 or 1")
        mask = self._mask(label, entry, size)
        self._follow_corners(label, entry, size)
        if not self._box(label, entry, size, mask):
            return None
        lost = next(rotated_problems(entry, entry["bbox"], size), None)
        if lost is not None:
            self.note("dropped", label, lost)
            return None
        if mask is not None and ROTATED in entry and self._is_beside(entry, mask, size):
            self._drop_mask(label, entry, f"its mask is beside its {ROTATED}")
            mask = None
        bare = mask is None and not entry.get("iscrowd") and min(entry["bbox"][2:]) > 0
        if bare and self._need_masks:
            self._set(label, entry, "iscrowd", 1, "has no sound mask to score by")
        return entry

    def _mask(self, label: str, entry: Json, size: tuple[int, int]) -> Any:
        given = entry.get("segmentation")
        mask, problem = repaired_mask(given, size)
        if problem is not None and mask is None:
            self._drop_mask(label, entry, problem)
        elif problem is not None:
            self._set(label, entry, "segmentation", mask, problem)
        area = entry.get("area", 0)
        if area is not None and (type(area) not in (int, float) or area < 0):
            self.note("corrected", label, f"has area={area!r}: without")
            del entry["area"]
        return mask

    def _follow_corners(self, label: str, entry: Json, size: tuple[int, int]) -> None:
        """Let the box lie around its rotated box, where that is one."""
        corners, box = entry.get(ROTATED), entry.get("bbox")
        if corners is None:
            return
        if not are_corners(corners):
            self.note("corrected", label, f"{ROTATED} is no four corners: without")
            del entry[ROTATED]
        elif not (
            isinstance(box, list) and box_problem(box) is None and is_around(box, corners, size)
        ):
            around = extent_xywh(corners, size)
            self._set(label, entry, "bbox", around, f"its bbox is not around its {ROTATED}")

    def _box(self, label: str, entry: Json, size: tuple[int, int], mask: Any) -> bool:
        given: Any = entry.get("bbox")
        box = given
        problem = next(field_problems(entry, BOX_FIELD), None) or box_problem(box)
        if problem is None and self._written.in_shares:
            box = [value * size[place % 2] for place, value in enumerate(box)]
            self._set(label, entry, "bbox", box, "its box is in shares of the image's size")
        if problem is None and self._written.form != XYWH:
            x0, y0, x1, y1 = to_xyxy(np.array([box], np.float64), self._written.form)[0].tolist()
            box = [x0, y0, x1 - x0, y1 - y0]
            self._set(label, entry, "bbox", box, f"all boxes fit as {self._written.form}")
        told = None if mask is None else box_of_mask(mask, size)
        if problem is None and told is not None and ROTATED not in entry:
            problem = other_form(given, box, told, size)
        if problem is None and overhang(box, size) > ROUNDING and self._written.is_sure:
            problem = self._clip(label, entry, size)
        if problem is None and told is not None and ROTATED not in entry:
            problem = "its bbox is beside its mask" if is_beside(entry["bbox"], told) else None
        if problem is None:
            return True
        if told is None:
            self.note("dropped", label, problem)
            return False
        self._set(label, entry, "bbox", told, f"{problem.rstrip('.')}. Its mask tells it")
        return True

    def _clip(self, label: str, entry: Json, size: tuple[int, int]) -> str | None:
        problem = place_problem(entry["bbox"], size)
        x0, y0, x1, y1 = clip_box(entry["bbox"], size)
        inside = max(x1 - x0, 0) * max(y1 - y0, 0)
        if inside <= LEAST_INSIDE * entry["bbox"][2] * entry["bbox"][3]:
            return problem
        if problem is not None:
            self._set(label, entry, "bbox", [x0, y0, x1 - x0, y1 - y0], "reaches out of its image")
        return None

    def _is_beside(self, entry: Json, mask: Any, size: tuple[int, int]) -> bool:
        told = box_of_mask(mask, size)
        return told is not None and is_beside(entry["bbox"], told)

    def _drop_mask(self, label: str, entry: Json, why: str) -> None:
        self.note("corrected", label, f"{why.rstrip('.')}: without a mask")
        entry.pop("segmentation", None)
        entry.pop("area", None)

    def _set(self, label: str, entry: Json, key: str, value: Any, why: str) -> None:
        shown = f"{key}={value}" if key != "segmentation" else "the same mask, well written"
        self.note("corrected", label, f"{why.rstrip('.')}: {shown}")
        entry[key] = value

    def _without_constants(self, label: str, entry: Json) -> Json:
        names = [
            key
            for key, value in entry.items()
            if key not in ("bbox", "segmentation") and find_constant(value)
        ]
        if names and constant_problem(entry, ("bbox", "segmentation")) is not None:
            self.note("corrected", label, f"NaN or an infinity in {', '.join(names)}: without")
        return {key: value for key, value in entry.items() if key not in names}


def _names_by_id(entries: Sequence[Any]) -> Mapping[int, Sequence[str]]:
    """The different file names that the images of each id have."""
    found: dict[int, list[str]] = {}
    for entry in entries:
        if isinstance(entry, dict) and type(entry.get("id")) is int:
            names, name = found.setdefault(entry["id"], []), entry.get("file_name")
            if isinstance(name, str) and name not in names:
                names.append(name)
    return found


def same_classes(train: Json, val: Json, note: Note) -> tuple[Json, Json]:
    """Both files with the same classes: numbers of the training file, by name.

    Args:
        train: Repaired content.
        val: The same; its annotations follow.
        note: Told of changes as `_Repair.note` is.
    """
    number_of = {entry["name"].strip(): entry["id"] for entry in train["categories"]}
    theirs = {entry["name"].strip(): entry["id"] for entry in val["categories"]}
    following = max([*number_of.values(), 0]) + 1
    categories = list(train["categories"])
    for entry in val["categories"]:
        name = entry["name"].strip()
        if name not in number_of:
            number_of[name], following = following, following + 1
            categories.append({**entry, "id": number_of[name]})
            note("corrected", f"category {entry['id']}", f"{name!r} is added to the training file")
    moved = {old: number_of[name] for name, old in theirs.items() if number_of[name] != old}
    for old, new in moved.items():
        note("renumbered", f"category {old}", f"is number {new} in the training file")
    absent = [name for name in number_of if name not in theirs]
    if absent:
        note("corrected", "categories", f"{len(absent)} of the training file are added here")
    annotations = [
        {**entry, "category_id": moved.get(entry["category_id"], entry["category_id"])}
        for entry in val["annotations"]
    ]
    return {**train, "categories": categories}, {
        **val,
        "categories": categories,
        "annotations": annotations,
    }
