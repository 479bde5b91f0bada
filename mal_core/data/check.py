"""Check a whole input, both splits and how they fit together, before anything is trained."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mal_core.config import DataConfig, SplitConfig
from mal_core.data.coco import MaskCensus, read_split
from mal_core.errors import DatasetError
from mal_core.types import BoxDataset

SHOWN_IDS = 10
Split = tuple[BoxDataset, MaskCensus]


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedData:
    """An input without problems.

    Attributes:
        val: None when no validation split was asked for; so is `val_masks`.
        train_masks, val_masks: Which annotations come with a human mask.
    """

    train: BoxDataset
    train_masks: MaskCensus
    val: BoxDataset | None
    val_masks: MaskCensus | None

    @property
    def has_train_masks(self) -> bool:
        """Whether every training box has a human mask, so that segmenters can learn from them."""
        return self.train_masks.complete

    @property
    def has_val_masks(self) -> bool:
        """Whether every validation box has a human mask, so that segmenters can be scored."""
        return self.val_masks is not None and self.val_masks.complete

    def summary(self) -> tuple[str, ...]:
        """One line per split: what it holds and what happens to its irregular boxes."""
        lines = [_summary("train", self.train, self.train_masks)]
        if self.val is not None and self.val_masks is not None:
            lines.append(_summary("val", self.val, self.val_masks))
        return tuple(lines)


def _summary(name: str, dataset: BoxDataset, masks: MaskCensus) -> str:
    parts = [
        f"{len(dataset.images)} images",
        f"{len(dataset.categories)} categories",
        f"{dataset.num_annotations} annotations = {len(dataset.boxes)} boxes "
        f"+ {dataset.num_crowds} crowds + {len(dataset.skipped)} of zero size (skipped)",
        f"{dataset.num_clipped} boxes clipped to the image",
        f"{masks.num_masks} human masks" + (f", {len(masks.without)} absent" * bool(masks.without)),
    ]
    return f"{name}: {'; '.join(parts)} ({dataset.annotations_path})"


def check_data(data: DataConfig, *, need_val: bool, decode: bool) -> CheckedData:
    """Read both splits and compare them.

    Args:
        data: Where the splits are, and whether to be strict.
        need_val: Also check the validation split, whose masks score the segmenters.
        decode: Decode every image, which finds truncated files; otherwise headers only.

    Raises:
        DatasetError: Carries every problem of every file, both files together.
    """
    splits, errors = [], []
    for split in (data.train, data.val) if need_val else (data.train,):
        try:
            splits.append(_read(split, strict=data.strict, decode=decode))
        except DatasetError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise DatasetError.together(errors)
    train, train_masks = splits[0]
    if not need_val:
        return CheckedData(train=train, train_masks=train_masks, val=None, val_masks=None)
    val, val_masks = splits[1]
    check_pair(train, val, val_masks)
    return CheckedData(train=train, train_masks=train_masks, val=val, val_masks=val_masks)


def _read(split: SplitConfig, *, strict: bool, decode: bool) -> Split:
    return read_split(split.images, split.annotations, strict=strict, decode=decode)


def check_pair(train: BoxDataset, val: BoxDataset, val_masks: MaskCensus) -> None:
    """Check that segmenters trained on one split can be scored on the other.

    Raises:
        DatasetError: Validation masks are absent, or the categories differ.
    """
    problems = [
        *_mask_problems(val_masks),
        *_category_problems(train, val, train.annotations_path),
    ]
    if problems:
        raise DatasetError(val.annotations_path, problems)


def _mask_problems(masks: MaskCensus) -> Iterable[str]:
    if masks.num_masks == 0:
        yield (
            "has no human masks, but segmenters are scored against those of the validation split. "
            "Give a data.val.annotations with 'segmentation', or run only `mal train` and "
            "`mal label`, which need boxes alone."
        )
    elif masks.without:
        shown = ", ".join(str(key) for key in masks.without[:SHOWN_IDS])
        hidden = len(masks.without) - SHOWN_IDS
        more = f" and {hidden} more" if hidden > 0 else ""
        yield (
            f"{len(masks.without)} annotations have no usable 'segmentation' (polygons of at least "
            f"three points, or RLE) and cannot be scored: {shown}{more}. Add their masks or drop "
            "them."
        )


def _category_problems(train: BoxDataset, val: BoxDataset, train_path: Path) -> Iterable[str]:
    of_train = {category.category_id: category.name for category in train.categories}
    of_val = {category.category_id: category.name for category in val.categories}
    advice = "Both files must list the same categories."
    for key in sorted(of_train.keys() | of_val.keys()):
        if key not in of_val:
            name = of_train[key]
            yield f"category {key} ({name!r}) of {train_path} is missing here. {advice}"
        elif key not in of_train:
            yield f"category {key} ({of_val[key]!r}) is missing in {train_path}. {advice}"
        elif of_train[key] != of_val[key]:
            yield (
                f"category {key} is {of_val[key]!r} here, but {of_train[key]!r} in {train_path}. "
                f"{advice}"
            )
