"""Data sets with human masks in both splits, as several benchmarks take them: NAME=DIR."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mal_core.config import SplitConfig
from mal_core.processes.files import write_json


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


def write_boxes(split: SplitConfig, target: Path) -> Path:
    """The file of a split without its masks, as phase 1 may see it."""
    boxes: dict[str, Any] = json.loads(split.annotations.read_text())
    for entry in boxes["annotations"]:
        entry.pop("segmentation", None)
    write_json(target, boxes)
    return target
