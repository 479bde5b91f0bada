"""Edits that turn an mmdet config into one training, on plain nested dicts: imports no mmdet."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from mal_core.errors import ConfigError

STEP_KEYS = ("begin", "end", "T_max", "step_size", "total_steps")
LENGTHS = ("T_max", "step_size", "total_steps")
"""Of these a schedule has at least one step."""
SIZE_KEYS = {
    "Resize": ("scale",),
    "RandomResize": ("scale",),
    "RandomChoiceResize": ("scales",),
    "RandomCrop": ("crop_size",),
    "FixScaleResize": ("scale",),
    "Pad": ("size",),
    "BatchFixedSizePad": ("size",),
}
PAD_DIVISOR = 32
NEEDED = (
    "model",
    "train_dataloader",
    "val_dataloader",
    "test_dataloader",
    "train_cfg",
    "optim_wrapper",
    "param_scheduler",
)
"""Parts of an mmdet config that a training and a prediction are made of."""
NOT_OPTIONS = frozenset(
    ["ann_file", "data_prefix", "data_root", "metainfo", "work_dir", "randomness", "num_classes"]
)
"""What both arms, or the store, must be able to rely on."""


@dataclass(frozen=True, kw_only=True)
class Length:
    """How long a recipe trains.

    Attributes:
        steps: Optimiser steps.
        epochs: Epochs, when the recipe counts in them.
    """

    steps: int
    epochs: int | None


def walk(node: Any) -> Iterator[dict[str, Any]]:
    """Every dict inside a nested config, outermost first."""
    if isinstance(node, dict):
        yield node
        for value in list(node.values()):
            yield from walk(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from walk(value)


def file_dataset(dataset: dict[str, Any]) -> dict[str, Any]:
    """The dataset that reads a file, inside of any that repeat or mix its images."""
    while "ann_file" not in dataset and "dataset" in dataset:
        dataset = dataset["dataset"]
    return dataset


def set_classes(config: dict[str, Any], classes: Sequence[str]) -> None:
    """Give the model and all datasets the classes of the annotation file.

    Raises:
        ConfigError: The config names other classes itself.
    """
    for key in ("train_dataloader", "val_dataloader", "test_dataloader"):
        dataset = file_dataset(config[key]["dataset"])
        named = (dataset.get("metainfo") or {}).get("classes")
        if named is not None and tuple(named) != tuple(classes):
            message = (
                f"{key}.dataset.metainfo.classes={tuple(named)} but the annotation file has "
                f"{tuple(classes)}, in this order. Remove metainfo from the config."
            )
            raise ConfigError(message)
        dataset["metainfo"] = {"classes": tuple(classes)}
    for node in walk(config["model"]):
        _set_class_count(node, len(classes))


def _set_class_count(node: dict[str, Any], count: int) -> None:
    if "num_classes" in node:
        node["num_classes"] = count
    if "num_things_classes" in node:
        node["num_things_classes"] = count
        node["num_stuff_classes"] = 0
    # Mask2Former weighs each class and, last, "no object".
    weights = node.get("class_weight")
    if isinstance(weights, list | tuple):
        node["class_weight"] = [1.0] * count + [weights[-1]]


def set_data(config: dict[str, Any], split: str, images: Path, annotations: Path) -> None:
    """Point one data loader (train, val or test) at a folder and a file.

    Every format is a COCO file with file names by now, LVIS too.
    """
    dataset = file_dataset(config[f"{split}_dataloader"]["dataset"])
    if str(dataset.get("type", "")).startswith("LVIS"):
        dataset["type"] = "CocoDataset"
    dataset["data_root"] = None
    dataset["ann_file"] = str(annotations)
    dataset["data_prefix"] = {"img": f"{images}/"}


def set_weights(model: dict[str, Any], weights: str | None) -> None:
    """Choose where the backbone's weights come from.

    Args:
        model: The `model` part of the config.
        weights: None for random, "hub" for the recipe's own download, else a local file
            or a model of timm.
    """
    if weights == "hub":
        return
    backbone = model["backbone"]
    if weights is not None:
        init = backbone.get("init_cfg") or {"type": "Pretrained"}
        backbone["init_cfg"] = {**init, "checkpoint": weights}
        return
    for node in walk(model):
        if isinstance(node.get("init_cfg"), dict) and node["init_cfg"]["type"] == "Pretrained":
            node["init_cfg"] = None
    # Random weights that are frozen, or normalised by statistics nobody estimated, cannot learn.
    for key, value in (("frozen_stages", -1), ("norm_eval", False)):
        if key in backbone:
            backbone[key] = value


def recipe_length(config: dict[str, Any], num_images: int, num_processes: int = 1) -> Length:
    """Steps that the recipe itself prescribes, at its configured batch size of each process."""
    loop = config["train_cfg"]
    if loop.get("max_iters") is not None:
        return Length(steps=loop["max_iters"], epochs=None)
    per_step = config["train_dataloader"]["batch_size"] * num_processes
    per_epoch = math.ceil(num_images / per_step)
    return Length(steps=loop["max_epochs"] * per_epoch, epochs=loop["max_epochs"])


def set_length(
    config: dict[str, Any], num_images: int, max_steps: int | None, num_processes: int = 1
) -> int:
    """Count the recipe in steps and squeeze its schedule into `max_steps`.

    A warm-up keeps its length unless that exceeds a tenth of the training.

    Args:
        config: The config; changed in place.
        num_images: Images of an epoch.
        max_steps: None leaves the recipe its own number of epochs or steps.
        num_processes: Processes that share an epoch.

    Returns:
        The number of steps.
    """
    length = recipe_length(config, num_images, num_processes)
    total = max_steps or length.steps
    schedulers = config["param_scheduler"]
    schedulers = [schedulers] if isinstance(schedulers, dict) else list(schedulers)
    config["param_scheduler"] = [_scaled(item, length, total) for item in schedulers]
    _join(config["param_scheduler"])
    config["param_scheduler"] = [
        scheduler for scheduler in config["param_scheduler"] if _has_steps(scheduler)
    ]
    config["train_cfg"] = {
        "type": "IterBasedTrainLoop",
        "max_iters": total,
        "val_interval": total,
    }
    config["train_dataloader"]["sampler"] = {"type": "InfiniteSampler", "shuffle": True}
    config["log_processor"] = {"type": "LogProcessor", "window_size": 20, "by_epoch": False}
    return total


def _scaled(scheduler: dict[str, Any], length: Length, total: int) -> dict[str, Any]:
    scaled = dict(scheduler)
    in_epochs = scaled.pop("by_epoch", True) and length.epochs is not None
    scaled.pop("convert_to_iter_based", None)
    factor = total / (length.epochs if in_epochs and length.epochs else length.steps)
    warms_up = scaled["type"] == "LinearLR" and not in_epochs
    for key in STEP_KEYS:
        if scaled.get(key) is not None:
            scaled[key] = max(int(key in LENGTHS), round(scaled[key] * factor))
    if warms_up and scheduler.get("end") is not None:
        scaled["end"] = max(1, min(scheduler["end"], total // 10))
    if "milestones" in scaled:
        scaled["milestones"] = [round(step * factor) for step in scaled["milestones"]]
    if "periods" in scaled:
        scaled["periods"] = [max(1, round(steps * factor)) for steps in scaled["periods"]]
    return {**scaled, "by_epoch": False}


def _has_steps(scheduler: dict[str, Any]) -> bool:
    # Of one or two steps in all, a part of the schedule can have none: mmengine refuses that.
    return scheduler.get("end") is None or scheduler["end"] > scheduler.get("begin", 0)


def _join(schedulers: list[dict[str, Any]]) -> None:
    # A cosine that began where the warm-up ended still does after both were scaled.
    for warmup, main in pairwise(schedulers):
        if main["type"] == "CosineAnnealingLR" and warmup["type"] == "LinearLR":
            main["begin"] = warmup["end"]
            main["T_max"] = main["end"] - main["begin"]


def set_image_size(config: dict[str, Any], image_size: int, *, scale_objects: bool = True) -> None:
    """Scale every size of the recipe so that a test image's longer side is `image_size` px.

    Multi-scale training keeps its proportions; so do SOLOv2's object sizes, unless
    `scale_objects` is false.
    """
    test = file_dataset(config["test_dataloader"]["dataset"])["pipeline"]
    nominal = max(next(step["scale"] for step in test if step["type"] == "Resize"))
    factor = image_size / nominal
    loaders = [config[f"{split}_dataloader"] for split in ("train", "val", "test")]
    for node in walk([config["model"], *loaders]):
        for key in SIZE_KEYS.get(str(node.get("type")), ()):
            node[key] = _resized(node[key], factor, whole=node["type"] == "BatchFixedSizePad")
        if scale_objects and "scale_ranges" in node:
            node["scale_ranges"] = [
                (low * factor, high * factor) for low, high in node["scale_ranges"]
            ]


def _resized(size: Any, factor: float, *, whole: bool) -> Any:
    if isinstance(size, list | tuple):
        return type(size)(_resized(part, factor, whole=whole) for part in size)
    if whole:
        return math.ceil(size * factor / PAD_DIVISOR) * PAD_DIVISOR
    return max(1, round(size * factor))


def ignore_orientation(config: dict[str, Any]) -> None:
    """Decode images as they are stored: they come in the frame of their boxes."""
    loaders = [config[f"{split}_dataloader"] for split in ("train", "val", "test")]
    for node in walk(loaders):
        if node.get("type") in ("LoadImageFromFile", "mmdet.LoadImageFromFile"):
            node["color_type"] = "color_ignore_orientation"


def predict_without_masks(config: dict[str, Any]) -> None:
    """Keep the val masks away from prediction, which would only decode and drop them."""
    for split in ("val", "test"):
        dataset = file_dataset(config[f"{split}_dataloader"]["dataset"])
        dataset["pipeline"] = [
            step for step in dataset["pipeline"] if step["type"] != "LoadAnnotations"
        ]


def adapt_to_processes(
    config: dict[str, Any], *, amp: Literal["bfloat16", "float16"] | None, synchronized: bool
) -> None:
    """Replace what needs a process group or a GPU.

    Args:
        config: The config.
        amp: Type of mixed precision, None for none. bfloat16 has float32's range, so its
            losses need no scale; Mask2Former's overflow in float16 from random weights.
        synchronized: Batch statistics can be shared by processes on GPUs.
    """
    for node in walk(config["model"]):
        if node.get("type") == "SyncBN" and not synchronized:
            node["type"] = "BN"
    wrapper = config["optim_wrapper"]
    wrapper["type"] = "OptimWrapper" if amp is None else "AmpOptimWrapper"
    wrapper.pop("loss_scale", None)
    wrapper.pop("dtype", None)
    if amp is not None:
        wrapper["dtype"] = amp
        wrapper["loss_scale"] = 1.0 if amp == "bfloat16" else "dynamic"


def set_options(config: dict[str, Any], options: Mapping[str, Any]) -> None:
    """Change single places of the config, as mmdet's own `--cfg-options` does.

    Args:
        config: The config; changed in place.
        options: Nested as the config is; a list's items are keyed by their index.

    Raises:
        ConfigError: There is no such place, or it is what the arms have in common.
    """
    for path, value in _leaves(options, ()):
        name = f"segmenter.options.{'.'.join(path)}"
        if NOT_OPTIONS & set(path):
            message = f"{name}: this cannot be changed; data, classes and seed are the pipeline's."
            raise ConfigError(message)
        node: Any = config
        for part in path[:-1]:
            node = _child(node, part, name)
        _child(node, path[-1], name, new=isinstance(node, dict))
        node[int(path[-1]) if isinstance(node, list) else path[-1]] = value


def _leaves(options: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[Any, Any]]:
    for key, value in options.items():
        inner = (*path, str(key))
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, inner)
        else:
            yield inner, value


def _child(node: Any, part: str, name: str, *, new: bool = False) -> Any:
    if isinstance(node, list) and part.isdigit() and int(part) < len(node):
        return node[int(part)]
    if isinstance(node, dict) and part in node:
        return node[part]
    if new:
        return None
    seen = ", ".join(map(str, node)) if isinstance(node, dict) else type(node).__name__
    message = f"{name}: the config has no {part!r} there. It has: {seen}."
    raise ConfigError(message)
