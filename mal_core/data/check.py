"""Both splits of a run against everything they are needed for, before any training."""

from dataclasses import dataclass

from mal_core.config import DataConfig, SplitConfig
from mal_core.data.coco import MaskCensus, read_split
from mal_core.errors import DatasetError
from mal_core.types import BoxDataset

SHOWN_IDS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedData:
    """Splits that passed every check.

    Attributes:
        train_masks: Which boxes of the training file have a human mask.
        val: None when no validation split was asked for; so is `val_masks`.
    """

    train: BoxDataset
    train_masks: MaskCensus
    val: BoxDataset | None
    val_masks: MaskCensus | None

    @property
    def has_train_masks(self) -> bool:
        """Whether human masks can train a segmenter: every box has one."""
        return self.train_masks.complete

    @property
    def has_val_masks(self) -> bool:
        """Whether human masks can score a segmenter: every validation box has one."""
        return self.val_masks is not None and self.val_masks.complete

    def summary(self) -> tuple[str, ...]:
        """What was found, one line per split."""
        lines = [_line("training file", self.train, self.train_masks)]
        if self.val is not None and self.val_masks is not None:
            lines.append(_line("validation file", self.val, self.val_masks))
        return tuple(lines)


def _line(title: str, dataset: BoxDataset, masks: MaskCensus) -> str:
    return (
        f"{title}: {len(dataset.images)} images, {dataset.num_annotations} annotations = "
        f"{len(dataset.boxes)} boxes + {dataset.num_crowds} crowds + {len(dataset.skipped)} "
        f"of zero size; {dataset.num_clipped} boxes clipped to the image, "
        f"{masks.num_masks} human masks, {len(dataset.categories)} classes"
    )


def check_data(data: DataConfig, *, need_val: bool, decode: bool) -> CheckedData:
    """Read both splits and check what training and scoring need of them.

    Args:
        data: The splits and how strictly they are judged.
        need_val: Also check the validation split, which scores the segmenters.
        decode: Decode every image; otherwise only headers are read.

    Raises:
        DatasetError: Carries every problem of every file, both files together.
    """
    failures: list[DatasetError] = []
    train = _read(data.train, data.strict, decode, failures)
    val = _read(data.val, data.strict, decode, failures) if need_val else None
    if val is not None:
        problems = pair_problems(None if train is None else train[0], *val)
        if problems:
            failures.append(DatasetError(data.val.annotations, problems))
    if train is None or failures:
        raise failures[0] if len(failures) == 1 else DatasetError.together(failures)
    return CheckedData(
        train=train[0],
        train_masks=train[1],
        val=None if val is None else val[0],
        val_masks=None if val is None else val[1],
    )


def _read(
    split: SplitConfig, strict: bool, decode: bool, failures: list[DatasetError]
) -> tuple[BoxDataset, MaskCensus] | None:
    try:
        return read_split(split.images, split.annotations, strict=strict, decode=decode)
    except DatasetError as error:
        failures.append(error)
        return None


def check_pair(train: BoxDataset, val: BoxDataset, val_masks: MaskCensus) -> None:
    """Check that segmenters trained on one split can be scored on the other.

    Raises:
        DatasetError: Validation masks are absent, or the categories differ.
    """
    problems = pair_problems(train, val, val_masks)
    if problems:
        raise DatasetError(val.annotations_path, problems)


def pair_problems(train: BoxDataset | None, val: BoxDataset, val_masks: MaskCensus) -> list[str]:
    """What keeps a validation file from scoring; `train` is None when it cannot be read."""
    problems = [] if val_masks.complete else [_mask_problem(val_masks)]
    return problems if train is None else [*problems, *_category_problems(train, val)]


def _mask_problem(masks: MaskCensus) -> str:
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


def _category_problems(train: BoxDataset, val: BoxDataset) -> list[str]:
    """Classes that one file has and the other has not, or names otherwise."""
    names = {category.category_id: category.name for category in train.categories}
    others = {category.category_id: category.name for category in val.categories}
    return [
        f"category {category_id} is {_named(others, category_id)} here but "
        f"{_named(names, category_id)} in {train.annotations_path}. Both files must list the "
        "same classes."
        for category_id in sorted(names.keys() | others.keys())
        if names.get(category_id) != others.get(category_id)
    ]


def _named(names: dict[int, str], category_id: int) -> str:
    return repr(names[category_id]) if category_id in names else "absent"
