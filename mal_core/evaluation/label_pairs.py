"""A labeled file beside a human one: are both of the same objects, and what is left out?"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mal_core.data.images.names import canonical
from mal_core.data.validation import constant_problem
from mal_core.evaluation.masked import MaskedObject
from mal_core.geometry.mask_forms import is_mask

Json = dict[str, Any]
SPLIT = "Are both files of the same split?"


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
        *_misplaced(pair),
        *_size_problems(pair),
        *_name_problems(pair),
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
        _counted(crowds, "crowds of the human file are left out"),
        _counted(left, "objects of the human file have no mask or no size and are left out"),
        _counted(unmatched, "labels are of no object of the human file and are left out"),
        _counted(renamed, "images have another file_name than in the human file", known=renamed),
    ]
    return [note for note in notes if note]


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


def _misplaced(pair: Pair) -> Iterator[str]:
    """Labels that say another image than the object of their id is on."""
    for human in pair.judged:
        entry, wanted = pair.labels.get(human.annotation_id, {}), human.image.image_id
        if entry.get("image_id", wanted) != wanted:
            yield (
                f"annotation {human.annotation_id} is on image {entry['image_id']!r}, but on image "
                f"{wanted} in the human file. {SPLIT}"
            )


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
                f"image {theirs['id']} is {here[0]} x {here[1]} px, but {there[0]} x {there[1]} px "
                f"in the human file (width x height). {SPLIT}"
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
