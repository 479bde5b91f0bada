"""The annotations of a COCO file, checked and reduced to boxes.

Runs of sound entries pass in a few numpy operations; where one entry looks wrong, each is
looked at by itself, which also finds the words.
"""

from array import array
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mal_core.data.foreign import Relatives
from mal_core.data.rotated_boxes import (
    CROSSED,
    OVER,
    ROTATED,
    TURNED,
    corners_of_entry,
    has_no_area,
    is_crossed,
    is_turned,
    reaches_out,
    rotated_problems,
)
from mal_core.data.validation import (
    ANNOTATION_FIELDS,
    Entry,
    ImageTable,
    box_problem,
    clip_box,
    column,
    crowd_problem,
    field_problems,
    label_of,
    overhang,
    place_problem,
    strict_problems,
)
from mal_core.geometry.box_forms import TO_XYWH, XYWH, BoxForms
from mal_core.geometry.boxes import ALLOWED_OVERHANG, ROUNDING
from mal_core.types import Corners, SkippedBox, SkipReason

IN_A_CORNER = (
    "boxes all lie in the upper left quarter of their images: are they in percent, or of smaller "
    "copies of the images?"
)
LEAST_IMAGES = 5
"""A scene may have all its objects in one quarter."""


class SoundBoxes(NamedTuple):
    """Annotations whose boxes are sound, one value each; boxes and sizes (N, 4) and (N, 2), px."""

    annotation_ids: list[int]
    image_ids: list[int]
    category_ids: list[int]
    crowd: NDArray[np.bool_]
    boxes_xywh: NDArray[np.float64]
    sizes_wh: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BoxColumns:
    """Usable boxes of a run of annotations, one value per box in each.

    Attributes:
        corners_xyxy: Clipped to the image, px, shape (N, 4).
    """

    annotation_ids: Sequence[int]
    image_ids: Sequence[int]
    category_ids: Sequence[int]
    corners_xyxy: NDArray[np.float64]


class BoxTable:
    """The annotations of a file, checked and reduced to boxes.

    Args:
        images: Sizes that boxes must fit.
        category_ids: What annotations may refer to; None where the file names them later.
        strict: Also refuse overhang of up to 2 px, zero-size boxes and crowds.
        crowds_as_objects: Take the box of a crowd like any other (spec Q5).
        origins: As for `label_of`.

    Attributes:
        used_categories: What annotations do refer to.
        forms: What the numbers of the boxes fit, those with problems included; no crowds.
        rotated: Corners of the rotated boxes, by annotation id.
    """

    def __init__(
        self,
        images: ImageTable,
        category_ids: Set[int] | None,
        *,
        strict: bool,
        crowds_as_objects: bool = False,
        origins: bool = False,
    ) -> None:
        self._crowds_as_objects = crowds_as_objects
        self._origins = origins
        self.columns: list[BoxColumns] = []
        self.skipped: list[SkippedBox] = []
        self.problems: list[str] = []
        self.num_crowds = 0
        self.num_clipped = 0
        self.num_boxes = 0
        self.forms = BoxForms()
        self.num_turned = 0
        self.num_over = 0
        self.num_crossed = 0
        self.used_categories: set[int] = set()
        self.rotated: dict[int, Corners] = {}
        self._size_of = images.size_of
        self._category_ids = category_ids
        self._strict = strict
        self._seen: set[int] = set()
        self._relatives = Relatives()

    def label(self, index: int, entry: object) -> str:
        """How messages call an annotation."""
        return label_of("annotation", index, entry, origins=self._origins)

    def add_sound(self, entries: Sequence[Entry]) -> SoundBoxes | None:
        """Take annotations that are all sound; None, and nothing is taken, where one is not."""
        found = self._sound(entries)
        if found is None:
            return None
        boxes, sizes = found.boxes_xywh, found.sizes_wh
        self._seen.update(found.annotation_ids)
        self.used_categories.update(found.category_ids)
        crowd = found.crowd & (not self._crowds_as_objects)
        empty = (boxes[:, 2:] == 0).any(1) & ~crowd
        self.num_crowds += int(crowd.sum())
        for index in np.flatnonzero(empty).tolist():
            self._skip(found.annotation_ids[index], found.image_ids[index])
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        over = _overhangs(boxes, sizes)
        kept = np.flatnonzero(~crowd & ~empty)
        self.num_clipped += int((over[kept] > ROUNDING).sum())
        attributes = column(entries, "attributes")
        self.num_turned += sum(map(is_turned, attributes)) if any(attributes) else 0
        self.forms.add(boxes[kept], sizes[kept])
        low = np.maximum(corners[:, :2], 0)
        clipped = np.concatenate([low, np.minimum(corners[:, 2:], sizes)], axis=1)
        columns = [found.annotation_ids, found.image_ids, found.category_ids]
        if len(kept) < len(boxes):
            columns = [[values[i] for i in kept.tolist()] for values in columns]
        self._keep_columns(columns, clipped[kept])
        return found

    def _sound(self, entries: Sequence[Entry]) -> SoundBoxes | None:
        try:
            ids, image_ids, category_ids, boxes = (
                list(map(itemgetter(key), entries)) for key in ANNOTATION_FIELDS
            )
            crowds = column(entries, "iscrowd", 0)
            if any(ROTATED in entry for entry in entries):
                return None
            known = self._are_known(ids, image_ids, category_ids, crowds)
        except (TypeError, KeyError, AttributeError):
            return None
        if not known or set(map(type, boxes)) != {list} or set(map(len, boxes)) != {4}:
            return None
        numbers = list(chain.from_iterable(boxes))
        if not set(map(type, numbers)) <= {int, float}:
            return None
        try:
            sides: list[Any] = list(map(self._size_of.__getitem__, image_ids))
            sizes = np.fromiter(chain.from_iterable(sides), np.float64, 2 * len(sides))
            boxes_xywh = np.fromiter(numbers, np.float64, len(numbers)).reshape(-1, 4)
        except (OverflowError, ValueError, TypeError):  # beyond floats, or no size is known
            return None
        crowd = np.array(crowds, bool)
        sizes_wh = sizes.reshape(-1, 2)
        fits = _boxes_fit(boxes_xywh, sizes_wh)
        if self._strict:
            fits &= _boxes_are_strict(boxes_xywh, sizes_wh) & ~crowd
        if not fits.all():
            return None
        return SoundBoxes(ids, image_ids, category_ids, crowd, boxes_xywh, sizes_wh)

    def _are_known(
        self, ids: list[int], image_ids: list[int], category_ids: list[int], crowds: list[Any]
    ) -> bool:
        """Whether ids are whole numbers, new, and refer to what is there."""
        kinds = {*map(type, ids), *map(type, image_ids), *map(type, category_ids)}
        if kinds != {int} or not set(map(type, crowds)) <= {int, bool} or not {*crowds} <= {0, 1}:
            return False
        fresh = set(ids)
        if len(fresh) < len(ids) or not fresh.isdisjoint(self._seen):
            return False
        if not self._size_of.keys() >= set(image_ids):
            return False
        return self._category_ids is None or self._category_ids >= set(category_ids)

    def add(self, index: int, entry: Entry) -> bool:
        """Take one annotation or note everything that is wrong with it; whether it is sound."""
        label = self.label(index, entry)
        if self._relatives.takes(entry, "bbox", label):
            return False
        wrong = list(field_problems(entry, ANNOTATION_FIELDS))
        if isinstance(entry, dict):
            wrong += self._reference_problems(entry)
            wrong += self._box_problems(entry)
        if wrong:
            self.problems.extend(f"{label} {problem}" for problem in wrong)
        else:
            self._keep(entry)
        return not wrong

    def form_problems(self) -> list[str]:
        """Whether the boxes of the file look as if they were written in another way, in words."""
        relatives, forms = list(self._relatives.problems()), self.forms
        if relatives:
            return relatives
        if forms.are_normalised():
            return [
                f"{forms.num_shares} of {forms.num_boxes} boxes have all numbers from 0 to 1 and "
                "look normalised, but COCO wants px. Multiply x and width by the width of the "
                "image, y and height by its height; YOLO's x and y are those of the centers."
            ]
        other = None if self._origins else forms.other_than(XYWH)
        if other is None:
            return []
        return [
            f"its {forms.num_boxes} boxes would all fit their images as {other}, but COCO wants "
            f"{XYWH}. If that is what they are: {TO_XYWH[other]}"
        ]

    def notes(self) -> dict[str, int]:
        """What is unusual and not wrong, counted."""
        shares = "boxes have all numbers from 0 to 1, as if they were shares of the image's size"
        corner = self.forms.in_a_corner() and self._num_images() >= LEAST_IMAGES
        counts = {
            shares: self.forms.num_shares,
            IN_A_CORNER: self.forms.num_boxes * corner,
            TURNED: self.num_turned,
            OVER: self.num_over,
            CROSSED: self.num_crossed,
        }
        return {what: count for what, count in counts.items() if count}

    def _num_images(self) -> int:
        """Of the images that have usable boxes."""
        return len(set(chain.from_iterable(columns.image_ids for columns in self.columns)))

    def _skip(self, annotation_id: int, image_id: int) -> None:
        self.skipped.append(
            SkippedBox(
                annotation_id=annotation_id, image_id=image_id, reason=SkipReason.ZERO_SIZE_BOX
            )
        )

    def _keep_columns(
        self, columns: Sequence[list[int]], corners_xyxy: NDArray[np.float64]
    ) -> None:
        """Keep ids of annotations, images and categories, and as many boxes."""
        self.num_boxes += len(corners_xyxy)
        annotation_ids, image_ids, category_ids = map(_packed, columns)
        self.columns.append(BoxColumns(annotation_ids, image_ids, category_ids, corners_xyxy))

    def _reference_problems(self, entry: Entry) -> Iterator[str]:
        annotation_id, image_id = entry.get("id"), entry.get("image_id")
        category_id, crowd = entry.get("category_id"), entry.get("iscrowd", 0)
        if type(annotation_id) is int:
            if annotation_id in self._seen:
                yield "occurs more than once. Give every annotation its own id."
            self._seen.add(annotation_id)
        if type(image_id) is int and image_id not in self._size_of:
            yield f"has image_id={image_id}, but no image has that id. Add it or drop the box."
        if type(category_id) is int:
            self.used_categories.add(category_id)
        known = self._category_ids
        if type(category_id) is int and known is not None and category_id not in known:
            yield (
                f"has category_id={category_id}, but no category has that id. "
                "Add the category or drop the box."
            )
        if crowd not in (0, 1):
            yield crowd_problem(crowd)
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
        if not entry.get("iscrowd") and min(box[2:]) > 0 and entry.get(ROTATED) is None:
            self.forms.add(np.array([box], np.float64), np.array([size], np.float64))
        problem = place_problem(box, size)
        if problem is not None:
            yield problem
            return
        if self._strict and not entry.get("iscrowd"):
            yield from strict_problems(box, size)
        yield from rotated_problems(entry, box, size)

    def _keep(self, entry: Entry) -> None:
        if entry.get("iscrowd") and not self._crowds_as_objects:
            self.num_crowds += 1
            return
        box, size = entry["bbox"], self._size_of[entry["image_id"]]
        if size is None:  # its image has a problem of its own, which ends the reading
            return
        corners = corners_of_entry(entry)
        if box[2] == 0 or box[3] == 0 or (corners is not None and has_no_area(corners)):
            self._skip(entry["id"], entry["image_id"])
            return
        if corners is not None:
            self.rotated[entry["id"]] = corners
            self.num_over += reaches_out(corners, size)
            self.num_crossed += is_crossed(entry)
        self.num_turned += corners is None and is_turned(entry.get("attributes"))
        self.num_clipped += overhang(box, size) > ROUNDING
        clipped = np.array([clip_box(box, size)], np.float64)
        ids = [[entry[key]] for key in ("id", "image_id", "category_id")]
        self._keep_columns(ids, clipped)


def _packed(numbers: list[int]) -> Sequence[int]:
    """Whole numbers in eight bytes each, where they fit."""
    try:
        return array("q", numbers)
    except OverflowError:
        return numbers


def _overhangs(
    boxes_xywh: NDArray[np.float64], sizes_wh: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`overhang` of each box, (N,)."""
    low = boxes_xywh[:, :2]
    high = low + boxes_xywh[:, 2:]
    return np.asarray(np.maximum(-low, high - sizes_wh).max(1, initial=-np.inf))


def _boxes_fit(boxes_xywh: NDArray[np.float64], sizes_wh: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether `box_problem` and `place_problem` find nothing in each box."""
    with np.errstate(invalid="ignore", over="ignore"):
        low, extent = boxes_xywh[:, :2], boxes_xywh[:, 2:]
        high = low + extent
        reach = _overhangs(boxes_xywh, sizes_wh)
        inside = np.minimum(high, sizes_wh) > np.maximum(low, 0)
        fits = np.isfinite(high).all(1) & (extent >= 0).all(1)
        fits &= reach <= ALLOWED_OVERHANG + ROUNDING
        return np.asarray(fits & (inside.all(1) | (extent == 0).any(1)))


def _boxes_are_strict(
    boxes_xywh: NDArray[np.float64], sizes_wh: NDArray[np.float64]
) -> NDArray[np.bool_]:
    return np.asarray(
        (boxes_xywh[:, 2:] > 0).all(1) & (_overhangs(boxes_xywh, sizes_wh) <= ROUNDING)
    )
