"""Mask Auto-Labeler: boxes in, masks out. A plain library; knows no orchestrator.

    labeler = mal_core.load_labeler("runs/mine/mal/checkpoint.pth")
    image = mal_core.load_image("photo.jpg")
    masks, scores = labeler.label(image, boxes_xyxy)

The names of `__all__` are loaded when they are first used: the command imports this package at
every start, and torch takes seconds.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mal_core.config import EncoderConfig, MalConfig, RefinementConfig
    from mal_core.config.labelers import LabelerConfig
    from mal_core.data.images.loading import load_image
    from mal_core.errors import (
        ArgumentError,
        CheckpointError,
        ConfigError,
        DatasetError,
        MalCoreError,
        TrainingError,
        WorkerError,
    )
    from mal_core.jobs.labeler_training import train_labeler
    from mal_core.labelers.mal import LabeledBoxes, Labeler, load_labeler
    from mal_core.labelers.recipes import encoder_recipe, labeler_recipe
    from mal_core.quality.score import Quality, score_masks
    from mal_core.types import PseudoLabelSet

__all__ = [
    "ArgumentError",
    "CheckpointError",
    "ConfigError",
    "DatasetError",
    "EncoderConfig",
    "LabeledBoxes",
    "Labeler",
    "LabelerConfig",
    "MalConfig",
    "MalCoreError",
    "PseudoLabelSet",
    "Quality",
    "RefinementConfig",
    "TrainingError",
    "WorkerError",
    "encoder_recipe",
    "labeler_recipe",
    "load_image",
    "load_labeler",
    "score_masks",
    "train_labeler",
]

_MODULES = {
    "mal_core.config": ("EncoderConfig", "MalConfig", "RefinementConfig"),
    "mal_core.config.labelers": ("LabelerConfig",),
    "mal_core.data.images.loading": ("load_image",),
    "mal_core.jobs.labeler_training": ("train_labeler",),
    "mal_core.labelers.mal": ("LabeledBoxes", "Labeler", "load_labeler"),
    "mal_core.labelers.recipes": ("encoder_recipe", "labeler_recipe"),
    "mal_core.quality.score": ("Quality", "score_masks"),
    "mal_core.types": ("PseudoLabelSet",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

# OpenCV reads its limit once, when it is loaded, here and in child processes. Sizes are judged
# before anything is decoded, by a limit that a setting moves (data.max_image_pixels).
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 40))


def __getattr__(name: str) -> Any:
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(importlib.import_module(_MODULE_OF.get(name, "mal_core.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
