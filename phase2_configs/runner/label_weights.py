"""The edit that makes an mmdet config weigh its masks, on plain nested dicts."""

import importlib
from typing import Any

from mal_core.errors import ConfigError
from phase2_configs.runner.recipe import file_dataset, walk

HEADS = {
    "SOLOV2Head": "WeightedSOLOV2Head",
    "FCNMaskHead": "WeightedFCNMaskHead",
    "Mask2FormerHead": "WeightedMask2FormerHead",
    "LocalSOLOV2Head": "WeightedLocalSOLOV2Head",
    "LocalMask2FormerHead": "WeightedLocalMask2FormerHead",
}
MODULES = ["phase2_configs.runner.weighted_data", "phase2_configs.runner.weighted_heads"]


def weigh_labels(config: dict[str, Any], how: str, threshold: float) -> None:
    """Let each object's mask loss count as its label's score says.

    Args:
        config: The config; changed in place.
        how: "none": it stays as it is; "score": in proportion to it; "threshold": in full from
            `threshold` on, below not at all.
        threshold: As above.

    Raises:
        ConfigError: The recipe's masks come from a head that has no weights here.
    """
    if how == "none":
        return
    heads = [node for node in walk(config["model"]) if node.get("type") in HEADS]
    dataset = file_dataset(config["train_dataloader"]["dataset"])
    if not heads or dataset.get("type") != "CocoDataset":
        message = (
            f"segmenter.label_weights={how}: this recipe's masks cannot be weighed; its model "
            f"needs one of {', '.join(HEADS)}, and its data CocoDataset. Use label_weights=none."
        )
        raise ConfigError(message)
    for head in heads:
        head["type"] = HEADS[head["type"]]
    dataset["type"] = "WeightedCocoDataset"
    dataset.update(label_weights=how, label_threshold=threshold)
    for node in walk(config["train_dataloader"]["dataset"]):
        if isinstance(node.get("pipeline"), list | tuple):
            node["pipeline"] = _with_weights(node["pipeline"])
    imports = dict(config.get("custom_imports") or {"allow_failed_imports": False})
    imports["imports"] = [*imports.get("imports", []), *MODULES]
    config["custom_imports"] = imports
    for module in MODULES:  # mmengine imports them only where it reads a config from a file
        importlib.import_module(module)


def _with_weights(pipeline: Any) -> list[dict[str, Any]]:
    steps = []
    for step in pipeline:
        steps.append(step)
        if step["type"] == "LoadAnnotations":
            steps.append({"type": "WeightsIntoLabels"})
        elif step["type"] == "PackDetInputs":
            steps[-1] = {**step, "type": "PackWeightedInputs"}
    return steps
