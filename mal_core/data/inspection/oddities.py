"""What is unusual about a split and not wrong, each with what will be done about it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from mal_core.data.rotated_boxes import NUM_COORDINATES
from mal_core.data.view import CocoView
from mal_core.types import Category

KINDS_OF_NOTES = (
    ("image-listed-twice", "file_name of another"),
    ("box-share", "as if they were shares"),
    ("box-in-corner", "upper left quarter"),
    ("rotated-box-over-border", "rotated boxes reach over"),
    ("rotated-box-crossed", "order of a bow tie"),
    ("box-turned", "attributes.rotation"),
    ("area-absent", "have no area"),
    ("crowd-flag-absent", "have no iscrowd"),
    ("crowd-flag-form", "as iscrowd"),
    ("lvis-as-coco", "other fields of LVIS"),
    ("annotation-ignored", "have ignore=1"),
    ("mask-reaching-far", "twice as wide or high as their boxes"),
    ("mask-in-mask", "inside another one of theirs"),
    ("mask-too-short", "shorter than three points"),
    ("mask-without-pixel", "cover no pixel"),
    ("mask-flat-polygon", "one flat polygon"),
    ("mask-short-parts", "parts of fewer than three points"),
    ("crowd-without-mask", "crowds have no mask"),
    ("object-without-size", "neither size nor mask"),
)
ORDER = "class-order"
SHOWN = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Oddity:
    """Something unusual.

    Attributes:
        split: "train" or "val".
        kind: A short name, the same for the same thing in any file.
        text: A sentence that begins with the count and says what will be done.
        count: How many there are.
    """

    split: str
    kind: str
    text: str
    count: int


def oddities(split: str, view: CocoView) -> Iterator[Oddity]:
    """All that is unusual about one file by itself."""
    counted = (
        (
            "box-clipped",
            view.num_clipped,
            "boxes reach over the border of their image by up to 2 px: what is outside is cut off",
        ),
        (
            "box-zero-size",
            len(view.skipped),
            "boxes have zero size: they get no mask and are listed in skipped.json",
        ),
        (
            "crowd",
            view.num_crowds,
            "annotations are crowds: nothing is learned from them, and they stay as they are",
        ),
        (
            "box-twice",
            _copies(view),
            "boxes are copies of another of their image and class: "
            "each is learned from and gets a mask",
        ),
        ("image-without-box", _bare_images(view), "images have no box: phase 1 does not read them"),
    )
    for kind, count, what in counted:
        if count:
            yield Oddity(split=split, kind=kind, text=f"{count} {what}", count=count)
    yield from _bare_classes(split, view)
    yield from _alike_classes(split, view)
    for what, count in view.notes.items():
        kind = next((name for name, words in KINDS_OF_NOTES if words in what), "note")
        yield Oddity(split=split, kind=kind, text=f"{count} {what}", count=count)


def _used(view: CocoView, column: str) -> set[int]:
    return set(chain.from_iterable(getattr(columns, column) for columns in view.columns))


def _bare_images(view: CocoView) -> int:
    return len({image.image_id for image in view.images} - _used(view, "image_ids"))


def _bare_classes(split: str, view: CocoView) -> Iterator[Oddity]:
    used = _used(view, "category_ids")
    bare = [category.name for category in view.categories if category.category_id not in used]
    if bare:
        shown = ", ".join(repr(name) for name in bare[:SHOWN])
        text = f"{len(bare)} of {len(view.categories)} classes have no box, such as {shown}: kept"
        yield Oddity(split=split, kind="class-without-box", text=text, count=len(bare))


def _alike_classes(split: str, view: CocoView) -> Iterator[Oddity]:
    """Classes whose names differ in letter case or blanks only."""
    first: dict[str, str] = {}
    alike = []
    for category in view.categories:
        key = "".join(category.name.casefold().split())
        if first.setdefault(key, category.name) != category.name:
            alike.append((first[key], category.name))
    if alike:
        one, other = alike[0]
        text = (
            f"{len(alike)} classes are called as another one but for letter case or blanks, such "
            f"as {other!r} and {one!r}: each is a class of its own"
        )
        yield Oddity(split=split, kind="class-alike", text=text, count=len(alike))


def _copies(view: CocoView) -> int:
    """Boxes that another one of the same image and class has exactly."""
    if not view.columns:
        return 0
    rows = np.concatenate(
        [
            np.column_stack(
                [
                    np.asarray(columns.image_ids, np.float64),
                    np.asarray(columns.category_ids, np.float64),
                    columns.corners_xyxy,
                    *_rotated_columns(view, columns.annotation_ids),
                ]
            )
            for columns in view.columns
        ]
    )
    ordered = rows[np.lexsort(rows.T)]
    return int((ordered[1:] == ordered[:-1]).all(1).sum())


def _rotated_columns(
    view: CocoView, annotation_ids: Sequence[int]
) -> Iterator[NDArray[np.float64]]:
    """The corners of rotated boxes, zeros for the others: none where all boxes are upright."""
    if view.rotated:
        upright = (0.0,) * NUM_COORDINATES
        yield np.array([view.rotated.get(key, upright) for key in annotation_ids])


def class_order(train: CocoView, val: CocoView) -> Iterator[Oddity]:
    """Classes that both files list in different orders, which mmdet's numbers follow."""
    orders = [[category.category_id for category in view.categories] for view in (train, val)]
    if orders[0] == orders[1] or set(orders[0]) != set(orders[1]):
        return
    moved = [one for one, other in zip(*orders, strict=True) if one != other]
    name_of = _names(train.categories)
    shown = ", ".join(repr(name_of[key]) for key in moved[:SHOWN])
    yield Oddity(
        split="val",
        kind=ORDER,
        text=f"{len(moved)} classes stand at another place of the list than in the training file, "
        f"such as {shown}: phase 2 takes the training file's order; mmdet by itself would take "
        "each for the class at its place",
        count=len(moved),
    )


def _names(categories: Iterable[Category]) -> Mapping[int, str]:
    return {category.category_id: category.name for category in categories}
