"""Which label each shape of a tool belongs to, and whether it can be that label's mask."""

import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from mal_core.formats.exports.labeled import Labeled, LabeledObject
from mal_core.geometry.masks import mask_to_rle, segmentation_to_rle
from mal_core.review.given import Shape, Submission
from mal_core.types import REJECTED, REVIEW, Rle

LEAST_BOX_IOU = 0.5
"""Of the box around a mask that was drawn anew with the box of the label that it is for."""


class Drawn(NamedTuple):
    """A shape, the label it belongs to, and its mask."""

    shape: Shape
    label: LabeledObject
    rle: Rle


def _rejected(labeled: Labeled) -> list[LabeledObject]:
    """Objects whose mask was turned down earlier, with an empty one: they may get a new one."""
    images = {image["id"]: image for image in labeled.content["images"]}
    names = {entry["id"]: str(entry["name"]) for entry in labeled.content["categories"]}
    found = []
    for entry in labeled.content["annotations"]:
        if entry.get(REVIEW) == REJECTED and entry["id"] in labeled.unmasked:
            image = images[entry["image_id"]]
            rle = mask_to_rle(np.zeros((image["height"], image["width"]), np.uint8))
            name = names[entry["category_id"]]
            found.append(LabeledObject(entry=entry, image=image, name=name, rle=rle))
    return found


class Matcher:
    """Finds labels by id, else by photo, class and place.

    Args:
        labeled: The file that is corrected.
    """

    def __init__(self, labeled: Labeled) -> None:
        objects = [*labeled.objects, *_rejected(labeled)]
        self.label_of = {instance.id: instance for instance in objects}
        self._others = {entry["id"] for entry in labeled.content["annotations"]}
        self._on: dict[str, list[LabeledObject]] = defaultdict(list)
        self._full: dict[str, set[str]] = defaultdict(set)
        for instance in objects:
            name = str(instance.image["file_name"])
            self._on[name].append(instance)
        for image in labeled.content["images"]:
            name = str(image["file_name"])
            self._full[PurePosixPath(name).name].add(name)

    def match(self, shapes: Sequence[Shape], problems: list[str]) -> tuple[list[Drawn], int]:
        """Their labels and masks; what fits no label is a problem.

        Returns:
            What was found, and how many shapes without an id found their label by its place.
        """
        named = [found for shape in shapes if shape.key is not None
                 and (found := self._by_id(shape, problems))]  # fmt: skip
        taken: dict[Submission, set[int]] = defaultdict(set)
        for found in named:
            taken[found.shape.sent].add(found.label.id)
        placed = []
        for shape in shapes:
            own = taken[shape.sent]  # what others have sent leaves a label free for this one
            if shape.key is None and (found := self._by_place(shape, own, problems)):
                placed.append(found)
                own.add(found.label.id)
        return [*named, *placed], len(placed)

    def absent(self, photos: Sequence[str], came: Collection[int]) -> list[int]:
        """Ids of the masks on some photos that are not among those that came back.

        The lowest score first, as a queue has them: what was in it comes before what was not. A
        name without its folders counts where it is of one photo only.
        """
        found: list[tuple[float, int]] = []
        for photo in set(photos):
            names = {photo} if photo in self._on else self._full.get(PurePosixPath(photo).name, ())
            if len(names) == 1:
                on = (label for name in names for label in self._on.get(name, ()))
                found += [
                    (math.inf if label.score is None else label.score, label.id)
                    for label in on
                    if label.id not in came and coco_mask.area(label.rle)
                ]
        return [key for _, key in sorted(found)]

    def _by_id(self, shape: Shape, problems: list[str]) -> Drawn | None:
        assert shape.key is not None  # noqa: S101 - the caller asked
        label = self.label_of.get(shape.key)
        if label is None:
            known = shape.key in self._others
            problems.append(
                f"{shape.of(shape.key)} "
                + ("is a crowd or has no mask" if known else "is not in the labels")
                + ". Are both of the same file?"
            )
            return None
        problem = self._misfit(shape, label)
        if problem is not None:
            problems.append(f"{shape.of(label.id)} {problem}")
            return None
        return self._drawn(shape, label, problems)

    def _misfit(self, shape: Shape, label: LabeledObject) -> str | None:
        """Why a shape cannot be of a label, before its mask is looked at; follows its name."""
        name, (height, width) = str(label.image["file_name"]), label.size
        if shape.file_name is not None and not self._is_called(shape.file_name, name):
            return (
                f"is on {name} in the labels, but on {shape.file_name} here. "
                "Are both of the same file?"
            )
        if shape.size is not None and shape.size != (width, height):
            return (
                f"is on an image of {width} x {height} px, but here it has "
                f"{shape.size[0]} x {shape.size[1]} px. Correct the masks on the same images."
            )
        if shape.category is not None and shape.category.strip() != label.name.strip():
            return (
                f"is of class {label.name!r}, but here it is "
                f"{shape.category!r}. Classes stay as the boxes say; change them there."
            )
        return None

    @staticmethod
    def _is_called(given: str, name: str) -> bool:
        """Tools keep a file's name, its folders not always; some put an upload's number before."""
        ours, theirs = PurePosixPath(name).name, PurePosixPath(given.replace("\\", "/")).name
        return theirs == ours or theirs.endswith(f"-{ours}")

    def _by_place(self, shape: Shape, taken: set[int], problems: list[str]) -> Drawn | None:
        names = self._names(shape.file_name)
        candidates = [
            instance
            for name in names
            for instance in self._on[name]
            if instance.id not in taken and self._misfit(shape, instance) is None
        ]
        if not candidates:
            problems.append(
                f"{shape.where} has no annotation_id, and no label of its class on "
                f"{shape.file_name} is free for it. Correct the given mask instead of a new one."
            )
            return None
        drawn = self._drawn(shape, candidates[0], problems, placed=True)
        if drawn is None:
            return None
        boxes = np.array([instance.entry["bbox"] for instance in candidates], dtype=np.float64)
        own = coco_mask.toBbox(drawn.rle)[None]
        fits = coco_mask.iou(own, boxes, [0] * len(boxes))[0]
        near = np.flatnonzero(fits >= LEAST_BOX_IOU)
        if len(near) != 1:
            problems.append(
                f"{shape.where} has no annotation_id, and {len(near)} free boxes of its class lie "
                "where it does. Correct the given mask instead of a new one."
            )
            return None
        return drawn._replace(label=candidates[int(near[0])])

    def _names(self, given: str | None) -> list[str]:
        if given is None:
            return []
        if given in self._on:
            return [given]
        return [
            name for names in self._full.values() for name in names if self._is_called(given, name)
        ]

    def _drawn(
        self, shape: Shape, label: LabeledObject, problems: list[str], *, placed: bool = False
    ) -> Drawn | None:
        name = shape.where if placed else shape.of(label.id)
        try:
            rle = segmentation_to_rle(shape.draw(), *label.size)
        except ValueError as error:
            problems.append(f"{name}: {error}")
            return None
        if not coco_mask.area(rle):
            problems.append(
                f"{name} has a mask without a pixel. Draw it, or reject it on the page."
            )
            return None
        return Drawn(shape, label, rle)
