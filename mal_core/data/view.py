"""One view of a COCO file: images, boxes, masks and categories, read once and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mal_core.data.box_table import BoxColumns, BoxTable
from mal_core.data.crowding import UNFEDERATED, num_unfederated
from mal_core.data.json_lists import Piece, read_lists
from mal_core.data.mask_census import MaskCensus, MaskTable
from mal_core.data.validation import (
    ENTRY_LISTS,
    LISTED,
    CategoryTable,
    ImageTable,
    constant_problem,
    label_of,
    structure_problems,
)
from mal_core.errors import DatasetError
from mal_core.types import (
    BoxAnnotation,
    BoxDataset,
    Category,
    Corners,
    ImageRecord,
    SkippedBox,
)

NO_MASKS = MaskCensus(num_masks=0, without=(), unusual={})
Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class CocoView:
    """What a COCO file says, without its masks and without what nobody here reads.

    Attributes:
        categories, images, columns, skipped: What is sound.
        num_annotations: Entries of the list, wrong ones too.
        num_clipped: Boxes with an overhang of up to 2 px that was cut off.
        rotated: Corners of the rotated boxes, by annotation id.
        masks: What is known of the masks; they were dropped while reading.
        emptiness: Why there is nothing to train on, where there is not.
        entry_problems: Everything that is wrong with boxes, images and categories.
        entry_notes: What is unusual about them, counted by what it is.
    """

    path: Path
    categories: tuple[Category, ...]
    images: tuple[ImageRecord, ...]
    columns: tuple[BoxColumns, ...]
    skipped: tuple[SkippedBox, ...]
    num_annotations: int
    num_boxes: int
    num_crowds: int
    num_clipped: int
    rotated: Mapping[int, Corners]
    masks: MaskCensus
    emptiness: tuple[str, ...]
    entry_problems: tuple[str, ...]
    entry_notes: Mapping[str, int]

    @property
    def notes(self) -> dict[str, int]:
        """All that is unusual and not wrong, counted by what it is."""
        return {**self.entry_notes, **self.masks.unusual, **self.masks.notes}

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps phase 1 from the file."""
        return (*self.emptiness, *self.entry_problems)

    @property
    def all_problems(self) -> tuple[str, ...]:
        """Those of the masks as well."""
        return (*self.problems, *self.masks.problems)

    def dataset(self, image_root: Path) -> BoxDataset:
        """The file as phase 1 sees it."""
        return BoxDataset(
            annotations_path=self.path,
            image_root=image_root,
            categories=self.categories,
            images=self.images,
            boxes=tuple(box for columns in self.columns for box in self._boxes(columns)),
            skipped=self.skipped,
            num_crowds=self.num_crowds,
            num_clipped=self.num_clipped,
        )

    def _boxes(self, columns: BoxColumns) -> list[BoxAnnotation]:
        ids = zip(columns.annotation_ids, columns.image_ids, columns.category_ids, strict=True)
        return [
            BoxAnnotation(
                annotation_id=annotation_id,
                image_id=image_id,
                category_id=category_id,
                box_xyxy=(x0, y0, x1, y1),
                corners=self.rotated.get(annotation_id),
            )
            for (annotation_id, image_id, category_id), (x0, y0, x1, y1) in zip(
                ids, columns.corners_xyxy.tolist(), strict=True
            )
        ]


def read_view(
    path: Path,
    *,
    strict: bool = False,
    crowds_as_objects: bool = False,
    masks: bool = True,
    named: bool = True,
    origins: bool = False,
) -> CocoView:
    """Read a COCO file once and check every entry; no image is opened.

    Args:
        path: The file.
        strict: Also refuse overhang of up to 2 px, zero-size boxes and crowds.
        crowds_as_objects: Take the box of a crowd like any other (spec Q5).
        masks: Check the masks; otherwise they are dropped unseen.
        named: Each image must have a `file_name`.
        origins: `origin` says where an entry was converted from, for messages.

    Raises:
        DatasetError: The file is absent, is no JSON or is no COCO object. What is wrong with
            its entries is in the view.
    """
    table = partial(BoxTable, strict=strict, crowds_as_objects=crowds_as_objects, origins=origins)
    reader = _Reader(table, masks=masks, named=named, origins=origins)
    content = read_lists(path, ENTRY_LISTS, reader.visit)
    problems = structure_problems(content)
    if problems:
        raise DatasetError(path, [*reader.boxes.form_problems(), *problems])
    if reader.wants_annotations_again():
        read_lists(path, ("annotations",), reader.visit)
    return reader.view(path, content)


def read_image_list(path: Path) -> CocoView:
    """The images and categories of a COCO file, which needs no annotations; those are not read.

    Raises:
        DatasetError: The file is absent or is no such list; carries all that is wrong with it.
    """
    reader = _Reader(partial(BoxTable, strict=False), masks=False, named=True, origins=False)
    content = read_lists(path, ENTRY_LISTS, reader.visit_listed)
    problems = structure_problems(content, LISTED)
    view = reader.view(path, {} if problems else content)
    if problems or view.entry_problems:
        raise DatasetError(path, [*problems, *view.entry_problems])
    return view


def view_of(path: Path, content: Json) -> CocoView:
    """The view of a file that `parse_coco` has read; images need no `file_name`."""
    reader = _Reader(partial(BoxTable, strict=False), masks=True, named=False, origins=False)
    for key in ("images", "categories", "annotations"):
        reader.visit(key, _Parsed(content[key]))
    if reader.wants_annotations_again():
        reader.visit("annotations", _Parsed(content["annotations"]))
    return reader.view(path, {})


class _Parsed:
    """Entries of a list that have been parsed exactly."""

    def __init__(self, entries: list[Any]) -> None:
        self._entries = entries

    def quick(self) -> list[Any] | None:
        """The entries."""
        return self._entries

    def exact(self) -> list[Any]:
        """The same."""
        return self._entries

    def has_only_numbers(self) -> bool:
        """Unknown."""
        return False


class _Reader:
    """Collects the entries of the three lists, in whatever order the file has them."""

    def __init__(
        self, table: "partial[BoxTable]", *, masks: bool, named: bool, origins: bool
    ) -> None:
        self.categories = CategoryTable(origins=origins)
        self.images = ImageTable(named=named, origins=origins)
        self.constants: list[str] = []
        self.counts = dict.fromkeys(ENTRY_LISTS, 0)
        self._origins, self._with_masks = origins, masks
        self._new_table = table
        self._postponed = False
        self._begin(None)

    def _begin(self, category_ids: set[int] | None) -> None:
        self.boxes = self._new_table(self.images, category_ids)
        self.masks = MaskTable(self.boxes.label)

    def visit(self, key: str, piece: Piece | _Parsed) -> None:
        """Take some entries of a list."""
        if key == "annotations":
            self._visit_annotations(piece)
            return
        entries = piece.quick()
        if entries is None or key == "categories" or not self.images.add_sound(entries):
            entries = self._add_listed(key, piece, entries)
        self.counts[key] += len(entries)

    def _add_listed(self, key: str, piece: Piece | _Parsed, entries: list[Any] | None) -> list[Any]:
        """Take images or categories one by one; `entries` are None where only `exact` can tell."""
        if entries is None:
            entries = piece.exact()
            self._find_constants(key, entries)
        elif any(_has_large_id(entry) for entry in entries):
            entries = piece.exact()
        table = self.categories if key == "categories" else self.images
        for index, entry in enumerate(entries, self.counts[key]):
            table.add(index, entry)
        return entries

    def visit_listed(self, key: str, piece: Piece) -> None:
        """Take entries that describe images and classes, and leave all others."""
        if key in LISTED:
            self.visit(key, piece)

    def _visit_annotations(self, piece: Piece | _Parsed) -> None:
        if not self.counts["images"]:
            self._postponed = True
            return
        entries, first = piece.quick(), self.counts["annotations"]
        found = None if entries is None else self.boxes.add_sound(entries)
        if entries is None or found is None:
            entries = piece.exact()
            self._find_constants("annotations", entries)
            self._add_one_by_one(first, entries)
        elif self._with_masks:
            plain = piece.has_only_numbers()
            self.masks.add(first, entries, found.boxes_xywh, found.sizes_wh, only_numbers=plain)
        self.counts["annotations"] += len(entries)

    def _add_one_by_one(self, first: int, entries: list[Any]) -> None:
        for index, entry in enumerate(entries, first):
            sound = self.boxes.add(index, entry)
            if not sound or not self._with_masks:
                continue
            size = self.images.size_of[entry["image_id"]]
            if size is not None:
                box = np.array([entry["bbox"]], np.float64)
                self.masks.add(index, [entry], box, np.array([size], np.float64))

    def _find_constants(self, key: str, entries: list[Any]) -> None:
        but = ("bbox", "segmentation") if key == "annotations" else ()
        kind = {"annotations": "annotation", "images": "image", "categories": "category"}[key]
        for index, entry in enumerate(entries, self.counts[key]):
            problem = constant_problem(entry, but) if isinstance(entry, dict) else None
            if problem is not None:
                label = label_of(kind, index, entry, origins=self._origins)
                self.constants.append(f"{label} {problem}")

    def wants_annotations_again(self) -> bool:
        """Whether they came before what they refer to, or refer to what is not there."""
        unknown = not self.boxes.used_categories <= self.categories.ids
        if not self._postponed and not unknown:
            return False
        self.counts["annotations"] = 0
        self.constants = [one for one in self.constants if not one.startswith("annotation")]
        self._begin(self.categories.ids)
        if not self.counts["images"]:
            self.counts["images"] = -1  # there are none: every annotation is wrong
        return True

    def view(self, path: Path, content: Mapping[str, Any]) -> CocoView:
        """All that was found."""
        boxes = self.boxes
        outside = constant_problem(content)
        return CocoView(
            path=path,
            categories=tuple(self.categories.categories),
            images=tuple(self.images.records),
            columns=tuple(boxes.columns),
            skipped=tuple(boxes.skipped),
            num_annotations=self.counts["annotations"],
            num_boxes=boxes.num_boxes,
            num_crowds=boxes.num_crowds,
            num_clipped=boxes.num_clipped,
            rotated=boxes.rotated,
            masks=self._census() if self._with_masks else NO_MASKS,
            emptiness=tuple(_emptiness_problems(self.counts, boxes)),
            entry_problems=(
                *self.categories.problems,
                *self.images.relatives.problems(),
                *self.images.problems,
                *boxes.form_problems(),
                *boxes.problems,
                *self.constants,
                *([] if outside is None else [f"the file {outside}"]),
            ),
            entry_notes={**self.images.notes(), **self._federation(), **boxes.notes()},
        )

    def _census(self) -> MaskCensus:
        count = self.images.num_federated
        return self.masks.census(federated=0 < count == len(self.images.records))

    def _federation(self) -> dict[str, int]:
        """What a copy of LVIS has lost, counted."""
        images, frequencies = self.images, self.categories.has_frequencies
        lacking = num_unfederated(
            len(images.records), images.num_federated, frequencies=frequencies
        )
        return {UNFEDERATED: lacking} if lacking else {}


def _has_large_id(entry: object) -> bool:
    """Whether a number came as a float that may have been a whole one beyond 64 bits."""
    return isinstance(entry, dict) and any(
        type(entry.get(key)) is float for key in ("id", "width", "height")
    )


def _emptiness_problems(counts: Mapping[str, int], boxes: BoxTable) -> list[str]:
    if counts["images"] <= 0:
        return ["empty dataset: the list 'images' has no entry."]
    total = counts["annotations"]
    if not total:
        return ["empty dataset: the list 'annotations' has no entry."]
    if boxes.num_crowds + len(boxes.skipped) < total:
        return []
    return [
        f"empty dataset: none of its {total} annotations is a usable box "
        f"({boxes.num_crowds} crowds, {len(boxes.skipped)} of zero size)."
    ]
