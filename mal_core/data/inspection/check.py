"""Both splits of a run against everything they are needed for, before any training."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from mal_core.config import DataConfig, SplitConfig
from mal_core.data import crowding
from mal_core.data.categories import category_problems
from mal_core.data.images.loading import image_problems
from mal_core.data.inspection.oddities import Oddity, class_order, oddities
from mal_core.data.mask_census import MaskCensus
from mal_core.data.object_sizes import ObjectSizes, view_sizes
from mal_core.data.view import CocoView, read_view
from mal_core.errors import DatasetError, raise_together

SHOWN_IDS = 10
LEAST_SIDE = 32
"""Px: mmdet's recipes leave images with a shorter side out of the training of segmenters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedData:
    """Splits that passed every check; `val` is None when none was asked for."""

    train: CocoView
    val: CocoView | None

    @property
    def has_train_masks(self) -> bool:
        """Whether human masks can train a segmenter: every box has one."""
        return self.train.masks.complete

    def summary(self) -> tuple[str, ...]:
        """What was found, one line per split, and what is unusual in it."""
        lines = list(_lines("training file", self.train))
        if self.val is not None:
            lines += _lines("validation file", self.val)
        return (*lines, *self._size_notes(), *crowding_notes(self.train, self.val))

    def counts(self) -> list[str]:
        """What each split holds, one line each."""
        val = [] if self.val is None else [_counts("validation file", self.val)]
        return [_counts("training file", self.train), *val]

    def oddities(self) -> list[Oddity]:
        """What is unusual, each thing with what will be done about it."""
        found = list(oddities("train", self.train))
        if self.val is not None:
            found += [*oddities("val", self.val), *class_order(self.train, self.val)]
        for text in self._size_notes():
            small = self.num_small_images
            found.append(Oddity(split="train", kind="image-small", text=text, count=small))
        for text in crowding_notes(self.train, self.val):
            most = self.most_objects
            found.append(Oddity(split="train", kind="image-crowded", text=text, count=most))
        return found

    @property
    def num_small_images(self) -> int:
        """Training images that the recipes of segmenters leave out."""
        return sum(min(image.width, image.height) < LEAST_SIDE for image in self.train.images)

    def _size_notes(self) -> Iterable[str]:
        small, total = self.num_small_images, len(self.train.images)
        if small:
            yield (
                f"training file: {small} of {total} images have a side under {LEAST_SIDE} px, "
                "which mmdet's recipes leave out of phase 2"
            )

    @property
    def object_sizes(self) -> ObjectSizes | None:
        """Sizes of the training boxes in their images; None where there is no box."""
        return view_sizes(self.train)

    @property
    def most_objects(self) -> int:
        """Boxes on the fullest image of both splits."""
        return max(_fullest(view) for view in (self.train, self.val) if view is not None)


def _counts(title: str, view: CocoView) -> str:
    return (
        f"{title}: {len(view.images)} images, {view.num_annotations} annotations = "
        f"{view.num_boxes} boxes + {view.num_crowds} crowds + {len(view.skipped)} "
        f"of zero size; {view.num_clipped} boxes clipped to the image, "
        f"{view.masks.num_masks} human masks, {len(view.categories)} classes, "
        f"up to {_fullest(view)} objects per image"
    )


def _lines(title: str, view: CocoView) -> Iterable[str]:
    yield _counts(title, view)
    for what, count in view.notes.items():
        yield f"{title}: {count} {what}"


def crowding_notes(train: CocoView, val: CocoView | None) -> list[str]:
    """What becomes of images with more objects than detections are usually kept."""
    most = max(_fullest(view) for view in (train, val) if view is not None)
    if most <= crowding.COCO_LIMIT:
        return []
    kept = crowding.followed(crowding.COCO_LIMIT, most, crowding.MOST_KEPT)
    notes = [
        f"one image has {most} objects: segmenters keep {kept} detections per image where "
        "their recipes keep fewer, and AP counts more than the usual 100 (LVIS: 300) where "
        "the validation file needs it; the report says how many"
    ]
    counts = {} if val is None else _objects_of_images(val)
    beyond = sum(max(0, count - kept) for count in counts.values())
    if beyond:
        notes.append(
            f"validation file: no prediction can reach {beyond} objects that lie beyond {kept} "
            f"on their image. {crowding.ADVICE}"
        )
    return notes


def _objects_of_images(view: CocoView) -> Counter[int]:
    return Counter(chain.from_iterable(columns.image_ids for columns in view.columns))


def _fullest(view: CocoView) -> int:
    """Boxes on the image that has most of them."""
    return max(_objects_of_images(view).values(), default=0)


def check_data(
    data: DataConfig,
    *,
    need_val: bool,
    decode: bool,
    read: Callable[[Path], CocoView] | None = None,
) -> CheckedData:
    """Read both splits and check what training and scoring need of them.

    Args:
        data: The splits and how strictly they are judged.
        need_val: Also check the validation split, which scores the segmenters.
        decode: Decode every image; otherwise only headers are read.
        read: In place of `read_view`, for files that have been read already.

    Raises:
        DatasetError: Carries every problem of every file, both files together.
    """
    failures: list[DatasetError] = []
    read = read or (lambda path: read_view(path, strict=data.strict))
    images = partial(image_problems, decode=decode, max_pixels=data.max_image_pixels)
    train = _read(data.train, read, images, failures)
    val = _read(data.val, read, images, failures) if need_val else None
    if val is not None:
        problems = pair_problems(train, val)
        if problems:
            failures.append(DatasetError(data.val.annotations, problems))
    raise_together(failures)
    assert train is not None  # noqa: S101 - or there was a failure
    return CheckedData(train=train, val=val)


def _read(
    split: SplitConfig,
    read: Callable[[Path], CocoView],
    look: "partial[list[str]]",
    failures: list[DatasetError],
) -> CocoView | None:
    try:
        view = read(split.annotations)
    except DatasetError as error:
        failures.append(error)
        return None
    problems = [*view.all_problems, *look(split.images, view.images)]
    if problems:
        failures.append(DatasetError(split.annotations, problems))
    return view


def pair_problems(train: CocoView | None, val: CocoView) -> list[str]:
    """What keeps a validation file from scoring; `train` is None when it cannot be read."""
    # Annotations with other problems are not counted: of a file of these nothing more is known.
    lacks = val.masks.without or not (val.masks.num_masks or val.all_problems)
    problems = [missing_masks(val.masks)] if lacks else []
    if train is None:
        return problems
    return [*problems, *category_problems(val.categories, train.categories, train.path)]


def missing_masks(masks: MaskCensus) -> str:
    """What a file lacks whose masks train or score a segmenter."""
    if not masks.num_masks:
        return (
            "no annotation has a mask ('segmentation'), but this file scores the segmenters. "
            "Give a validation file with human masks, or run only `mal train` and `mal label`, "
            "which need boxes alone."
        )
    shown = ", ".join(str(key) for key in masks.without[:SHOWN_IDS])
    hidden = len(masks.without) - SHOWN_IDS
    return (
        f"{len(masks.without)} annotations have no usable mask (polygons of at least three points, "
        f"or RLE), but this file scores the segmenters: {shown}"
        f"{f' and {hidden} more' if hidden > 0 else ''}. Add their masks or drop them."
    )
