"""A labeled file beside a human one: are both of the same objects, and what is left out?"""

import os
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from mal_core.data.images.names import canonical
from mal_core.data.pseudo_labels import is_score
from mal_core.data.validation import box_problem, constant_problem, crowd_problem
from mal_core.errors import MaskError
from mal_core.evaluation.masked import MaskedObject
from mal_core.geometry.mask_forms import is_mask, read_mask
from mal_core.geometry.masks import segmentation_to_rle

Json = dict[str, Any]
SPLIT = "Are both files of the same split?"
LEAST_SHARED = 0.2
"""Of the smaller of two boxes of one object: a mask of a part of it lies in the object's box."""
ROUNDED = 1.0
"""Px by which boxes of one object differ because somebody rounded them."""


class Pair(NamedTuple):
    """The content of two COCO files; labels by the ids of their annotations."""

    labeled: Json
    labels: Mapping[int, Json]
    human: Json
    judged: Sequence[MaskedObject]


def pair_problems(pair: Pair) -> list[str]:
    """Why labels cannot be scored by the human objects of their ids."""
    return [
        *_number_problems(pair.labels),
        *_crowd_problems(pair.labels),
        *_misplaced(pair),
        *_size_problems(pair),
        *_name_problems(pair),
        *_place_problems(pair),
    ]


def pair_notes(pair: Pair) -> list[str]:
    """What is compared although it differs, and what is left out, counted."""
    human = pair.human["annotations"]
    ids = {entry["id"] for entry in human}
    judged = {each.annotation_id for each in pair.judged}
    crowds = {entry["id"] for entry in human if entry.get("iscrowd")}
    left = {entry["id"] for entry in human} - judged - crowds
    unmatched = [key for key in pair.labels if key not in ids]
    renamed = _renamed(pair)
    notes = [
        *_class_notes(pair),
        *_score_notes(pair.labels),
        _counted(crowds, "crowds of the human file are left out"),
        _counted(
            judged & label_crowds(pair.labels),
            "labels are crowds, but objects in the human file: they count as absent",
        ),
        _counted(left, "objects of the human file have no mask or no size and are left out"),
        _counted(unmatched, "labels are of no object of the human file and are left out"),
        _counted(renamed, "images have another file_name than in the human file", known=renamed),
    ]
    return [note for note in notes if note]


def label_crowds(labels: Mapping[int, Json]) -> set[int]:
    """Ids of labels that stand for many objects, and are therefore a label of none."""
    return {key for key, entry in labels.items() if entry.get("iscrowd") == 1}


def _counted(ids: Iterable[int], what: str, known: Mapping[int, str] | None = None) -> str:
    ordered = sorted(ids)
    if not ordered:
        return ""
    shown = str(ordered[0]) if known is None else known[ordered[0]]
    return f"{len(ordered)} {what}, the first is {shown}"


def _number_problems(labels: Mapping[int, Json]) -> Iterator[str]:
    for key, entry in labels.items():
        problem = constant_problem(entry, ("segmentation",))
        if problem is not None:
            yield f"annotation {key} {problem}"


def _crowd_problems(labels: Mapping[int, Json]) -> Iterator[str]:
    for key, entry in labels.items():
        if (crowd := entry.get("iscrowd", 0)) not in (0, 1):
            yield f"annotation {key} {crowd_problem(crowd)}"


def _misplaced(pair: Pair) -> Iterator[str]:
    """Labels that say another image than the object of their id is on."""
    for human in pair.judged:
        entry, wanted = pair.labels.get(human.annotation_id, {}), human.image.image_id
        if entry.get("image_id", wanted) != wanted:
            yield (
                f"annotation {human.annotation_id} is on image {entry['image_id']!r}, but on image "
                f"{wanted} in the human file. {SPLIT}"
            )


def _place_problems(pair: Pair) -> Iterator[str]:
    """Labels whose box is elsewhere than that of the object of their id."""
    shares = []
    for human in pair.judged:
        entry = pair.labels.get(human.annotation_id, {})
        box = entry.get("bbox")
        if entry.get("image_id", human.image.image_id) != human.image.image_id:
            continue
        if isinstance(box, list) and box_problem(box) is None:
            if _shared(box, human.box_xywh) < LEAST_SHARED:
                yield (
                    f"annotation {human.annotation_id} has the box {box}, but "
                    f"{list(human.box_xywh)} in the human file, which is another object. {SPLIT} "
                    "Give each label the id that its object has there."
                )
        elif (extent := _extent(entry, human)) is not None:
            shares.append(_shared(extent, human.box_xywh))
    if shares and np.mean(shares) < LEAST_SHARED:
        yield (
            f"its {len(shares)} masks without a bbox are not where the objects of their ids are in "
            f"the human file: on average {100 * np.mean(shares):.0f} % of the smaller box is "
            f"shared. {SPLIT}"
        )


def _extent(entry: Json, human: MaskedObject) -> Sequence[float] | None:
    """The box around a label's mask, xywh in px; None where it has none that can be read."""
    try:
        mask = read_mask(entry.get("segmentation"), human.image.height, human.image.width)
    except MaskError:  # told with the others of its kind
        return None
    if mask is None:
        return None
    rle = segmentation_to_rle(mask, human.image.height, human.image.width)
    extent: list[float] = coco_mask.toBbox(rle).tolist()
    return extent if coco_mask.area(rle) else None


def _shared(one_xywh: Sequence[float], other_xywh: Sequence[float]) -> float:
    """Share of the smaller of two boxes that lies in the other; both are a rounding larger."""
    shared, areas = 1.0, [1.0, 1.0]
    for low, length in ((0, 2), (1, 3)):
        starts = [box[low] - ROUNDED for box in (one_xywh, other_xywh)]
        sides = [box[length] + 2 * ROUNDED for box in (one_xywh, other_xywh)]
        ends = [start + side for start, side in zip(starts, sides, strict=True)]
        shared *= max(0.0, min(ends) - max(starts))
        areas = [area * side for area, side in zip(areas, sides, strict=True)]
    return shared / min(areas)


def _score_notes(labels: Mapping[int, Json]) -> Iterator[str]:
    """Scores that are none: nothing is measured by them here, but elsewhere."""
    scored = {key: entry["score"] for key, entry in labels.items() if "score" in entry}
    odd = {key: value for key, value in scored.items() if not is_score(value)}
    if odd:
        key = min(odd)
        yield (
            f"{len(odd)} labels have a score that is no number from 0 to 1, the first is "
            f"annotation {key}: {reprlib.repr(odd[key])}; nothing is measured by scores here"
        )
    bare = [
        key
        for key, entry in labels.items()
        if key not in scored and is_mask(entry.get("segmentation"))
    ]
    if scored and bare:
        yield f"{len(bare)} labels have no score, and the others do, the first is {min(bare)}"


def _images(pair: Pair) -> Iterator[tuple[Json, Json]]:
    """Images of both files by id, where labels of the one meet objects of the other."""
    used = {each.image.image_id for each in pair.judged if each.annotation_id in pair.labels}
    known = {
        image["id"]: image
        for image in pair.labeled["images"]
        if isinstance(image, dict) and type(image.get("id")) is int
    }
    for image in pair.human["images"]:
        if image["id"] in used and image["id"] in known:
            yield known[image["id"]], image


def _size_problems(pair: Pair) -> Iterator[str]:
    for ours, theirs in _images(pair):
        here, there = ((image.get("width"), image.get("height")) for image in (ours, theirs))
        if here != there and None not in here:
            yield (
                f"image {theirs['id']} is {here[0]!r} x {here[1]!r} px, but {there[0]} x "
                f"{there[1]} px in the human file (width x height). {SPLIT}"
            )


def _renamed(pair: Pair) -> dict[int, str]:
    """Images that are called otherwise in both files, folders and spelling apart."""
    return {
        theirs["id"]: (
            f"image {theirs['id']}: {ours['file_name']!r} here, {theirs['file_name']!r} there"
        )
        for ours, theirs in _images(pair)
        if isinstance(ours.get("file_name"), str)
        and isinstance(theirs.get("file_name"), str)
        and _stem(ours["file_name"]) != _stem(theirs["file_name"])
    }


def _stem(name: str) -> str:
    return os.path.splitext(canonical(name).rpartition("/")[2])[0]  # noqa: PTH122


def _name_problems(pair: Pair) -> Iterator[str]:
    renamed, total = _renamed(pair), sum(1 for _ in _images(pair))
    if 2 * len(renamed) > total:
        first = renamed[min(renamed)]
        yield (
            f"{len(renamed)} of {total} images have another file_name than in the human file, the "
            f"first is {first}. {SPLIT}"
        )


def _class_notes(pair: Pair) -> Iterator[str]:
    """Labels of another class than their object: by name, where both files name it."""
    ours, theirs = (_classes(content["categories"]) for content in (pair.labeled, pair.human))
    different = {
        each.annotation_id: (found, theirs[each.category_id])
        for each in pair.judged
        if (label := pair.labels.get(each.annotation_id)) is not None
        and is_mask(label.get("segmentation"))
        and (found := ours.get(_hashable(label.get("category_id")))) is not None
        and found != theirs[each.category_id]
    }
    if different:
        key = min(different)
        kinds = Counter(different.values())
        yield (
            f"{len(different)} labels are of another class than the object of their id "
            f"({len(kinds)} pairs of classes), the first is annotation {key}: {different[key][0]!r}"
            f" here, {different[key][1]!r} in the human file, whose class is taken"
        )


def _hashable(value: object) -> object:
    return value if isinstance(value, int | str) else None


def _classes(entries: Sequence[Any]) -> dict[object, str]:
    return {
        _hashable(entry.get("id")): entry["name"].strip()
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("name"), str)
    }
