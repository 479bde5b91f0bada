"""Data sets with human masks in both splits, as several benchmarks take them: NAME=DIR."""

from dataclasses import dataclass
from pathlib import Path

from mal_core.config import SplitConfig
from mal_core.data.coco import strip_masks
from scenes.write import write_scenes

SCENES = "scenes"
SCENE_COUNTS, SCENE_SIDE = (400, 100), 160
"""Those of `make demo`: images to train on and to score, and their sides in px."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """One data set: both splits with human masks."""

    name: str
    train: SplitConfig
    val: SplitConfig


def read_data(text: str) -> Data:
    """NAME=DIR, where DIR holds `images/` and `annotations/instances_{train,val}.json`."""
    name, _, folder = text.partition("=")
    train, val = (
        SplitConfig(
            images=Path(folder).absolute() / "images",
            annotations=Path(folder).absolute() / "annotations" / f"instances_{split}.json",
        )
        for split in ("train", "val")
    )
    return Data(name=name, train=train, val=val)


def read_or_draw(text: str, out: Path, counts: tuple[int, int] = SCENE_COUNTS) -> Data:
    """NAME=DIR as `read_data` reads it, or `scenes`: drawn into `out`, once."""
    if "=" in text:
        return read_data(text)
    if text != SCENES:
        raise SystemExit(f"--data {text}: wanted NAME=DIR; only {SCENES} can be drawn.")
    folder = out / "drawn"
    if not (folder / "val" / "annotations.json").is_file():
        write_scenes(folder, num_train=counts[0], num_val=counts[1], size=SCENE_SIDE, seed=0)
    return drawn_data(folder)


def drawn_data(folder: Path) -> Data:
    """Scenes that `write_scenes` has drawn into a folder."""
    train, val = (
        SplitConfig(
            images=folder / split / "images", annotations=folder / split / "annotations.json"
        )
        for split in ("train", "val")
    )
    return Data(name=SCENES, train=train, val=val)


def write_boxes(split: SplitConfig, target: Path) -> Path:
    """The file of a split without its masks, as phase 1 may see it."""
    strip_masks(split.annotations, target)
    return target
