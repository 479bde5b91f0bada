"""Recipes that are sized by the objects of the data: image, anchors, grids, regions per image.

A recipe asks for it by `sized_from_data`:

    object_px: side that the median object shall have after the image is scaled
    least_px, most_px: bounds of the image's longer side
    crop_px: train on crops of this side, null: on whole images
    crowded: what is different where images are crowded: any of the above; `model`, places of
        the model and what they become; `imports`, modules that know these

Plain nested dicts, as in `recipe`: imports no mmdet.
"""

import math
from typing import Any

from mal_core.data.object_sizes import ObjectSizes
from phase2_configs.runner import recipe

REQUEST = "sized_from_data"
DIVISOR = 32
FINEST_STRIDE = 4
CELLS_PER_OBJECT = 1.6
"""Grid cells per side of an object: two neighbours that touch never share one."""
GRID_SIDES = (5, 40)
CROWD = 10
"""Objects on the median image from which on images are crowded."""
CELL_PX = (8.0, 32.0)
EXTREME_RATIO = 4.0
REGIONS_PER_OBJECT = 4
REGIONS = (32, 128)
LEAST_ANCHOR_PX, MOST_SMALLEST_ANCHOR_PX = 8, 20
"""Of the finest level: five strides and more belong to coarser ones."""


def fit(config: dict[str, Any], sizes: ObjectSizes | None, image_size: int | None) -> list[str]:
    """Size a recipe that asks for it; changes nothing in others.

    Args:
        config: The config; changed in place, and freed of its request.
        sizes: Of the training objects, the same for every set of labels of them.
        image_size: The user's own longer side of an image, which wins.

    Returns:
        What was chosen, for the log.
    """
    request = config.pop(REQUEST, None)
    if request is None or sizes is None:
        if image_size is not None:
            recipe.set_image_size(config, image_size)
        return []
    crowded = request.get("crowded") if sizes.per_image[2] >= CROWD else None
    if crowded is not None:
        request = {**request, **crowded}
        _change(config["model"], request.get("model", {}))
        config["custom_imports"]["imports"] += request.get("imports", [])
    side = image_size or _image_side(sizes, request)
    recipe.set_image_size(config, side, scale_objects=False)
    objects = [share * side for share in sizes.sides]
    said = [f"images of {side} px, where the median object has {objects[2]:.0f}"]
    if crowded is not None:
        said.append("crowded")
    crop = request.get("crop_px")
    if crop is not None and crop < side:
        _crop(config, crop)
        said.append(f"crops of {crop} px")
    for node in recipe.walk(config["model"]):
        said += _fit_node(node, side, objects, sizes)
        if "crop_share" in node:
            node["crop_share"] = min(1.0, (crop or side) / side)
    said += _fit_regions(config, sizes)
    return said


def _image_side(sizes: ObjectSizes, request: dict[str, Any]) -> int:
    wanted = request["object_px"] / sizes.sides[2]
    side = min(request["most_px"], max(request["least_px"], wanted))
    return round(side / DIVISOR) * DIVISOR


def _change(node: dict[str, Any], changes: dict[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(node.get(key), dict):
            _change(node[key], value)
        else:
            node[key] = value


def _crop(config: dict[str, Any], side: int) -> None:
    dataset = recipe.file_dataset(config["train_dataloader"]["dataset"])
    packed = len(dataset["pipeline"]) - 1
    dataset["pipeline"].insert(packed, {"type": "RandomCrop", "crop_size": (side, side)})


def _fit_node(
    node: dict[str, Any], side: int, objects: list[float], sizes: ObjectSizes
) -> list[str]:
    if node.get("num_grids"):
        node["num_grids"] = _grids(node["scale_ranges"], side, objects)
        return [f"grids {node['num_grids']}"]
    if "cell_px" in node:
        cell = min(CELL_PX[1], max(CELL_PX[0], objects[2] / CELLS_PER_OBJECT))
        node["cell_px"] = round(cell, 1)
        return [f"a query per {node['cell_px']} px"]
    if node.get("type") == "AnchorGenerator":
        node["scales"] = [_anchor_scale(objects)]
        node["ratios"] = _ratios(sizes)
        return [
            f"anchors of {FINEST_STRIDE * node['scales'][0]:.0f} px up, ratios {node['ratios']}"
        ]
    return []


def _grids(ranges: Any, side: int, objects: list[float]) -> list[int]:
    """Per level cells so small that two of its objects seldom share one."""
    grids = []
    for low, high in ranges:
        inside = [size for size in objects if low <= size <= high]
        smallest = min(inside) if inside else high
        wanted = math.ceil(CELLS_PER_OBJECT * side / max(smallest, 1))
        grids.append(min(GRID_SIDES[1], max(GRID_SIDES[0], wanted)))
    return grids


def _anchor_scale(objects: list[float]) -> float:
    """In strides, so that an octave of anchors sits on the median object."""
    smallest = max(LEAST_ANCHOR_PX, objects[2])
    while smallest >= MOST_SMALLEST_ANCHOR_PX:
        smallest /= 2
    return round(smallest / FINEST_STRIDE, 3)


def _ratios(sizes: ObjectSizes) -> list[float]:
    low, middle, high = (
        min(EXTREME_RATIO, max(1 / EXTREME_RATIO, sizes.ratios[i])) for i in (0, 2, 4)
    )
    return [round(ratio, 3) for ratio in (low, middle, high)]


def _fit_regions(config: dict[str, Any], sizes: ObjectSizes) -> list[str]:
    """Regions of an image that Mask R-CNN's heads learn from."""
    stages = (config["model"].get("train_cfg") or {}).get("rcnn")
    if stages is None:
        return []
    wanted = math.ceil(REGIONS_PER_OBJECT * sizes.per_image[2])
    count = min(REGIONS[1], max(REGIONS[0], wanted))
    for stage in stages if isinstance(stages, list) else [stages]:
        stage["sampler"]["num"] = count
    return [f"{count} regions per image"]
