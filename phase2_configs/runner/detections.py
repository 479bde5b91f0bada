"""How many detections per image an mmdet config keeps, and its edit for images that hold more.

Plain nested dicts, as in `recipe`: imports no mmdet.
"""

import math
from collections.abc import Iterator
from typing import Any

from mal_core.data.crowding import MOST_KEPT, followed
from mal_core.errors import ConfigError
from phase2_configs.runner.recipe import walk

LIMITS = ("max_per_img", "max_per_image")
"""Names of the limit: most families', and Mask2Former's."""
QUERIES = ("num_queries", "num_proposals")
"""Names of the slots that a model answers with; one slot is one object at most."""
PROPOSALS_PER_DETECTION = 2


def kept_detections(config: dict[str, Any]) -> int | None:
    """Detections per image that a config keeps at most; None where it sets no limit."""
    limits = [test[name] for test, name in _limits(config)]
    limits += [node[name] for node, name in _slots(config)]
    limits += [_num_cells(node) for node in _grids(config)]
    return min((limit for limit in limits if limit > 0), default=None)


def follow_objects(config: dict[str, Any], most_objects: int) -> None:
    """Let a config keep a quarter more detections than the fullest image has objects.

    Changes nothing where the recipe keeps enough. Otherwise what comes before the last
    limit follows: SOLOv2's candidates and cells, proposals, queries.
    """
    usual = kept_detections(config)
    if usual is None or most_objects <= usual:
        return
    limit = followed(usual, most_objects, MOST_KEPT)
    for test, name in list(_limits(config)):
        _raise_last(test, name, limit)
    for node, name in list(_slots(config)):
        node[name] = max(node[name], limit)
    for node in list(_grids(config)):
        growth = max(1.0, math.sqrt(limit / _num_cells(node)))
        node["num_grids"] = [math.ceil(side * growth) for side in node["num_grids"]]
    for stage in _proposal_stages(config):
        for name in ("nms_pre", "max_per_img"):
            if stage.get(name, -1) > 0:
                stage[name] = max(stage[name], PROPOSALS_PER_DETECTION * limit)


def _raise_last(test: dict[str, Any], name: str, limit: int) -> None:
    """Raise the last limit, and the candidates for it in proportion."""
    if not 0 < test[name] < limit:
        return
    if test.get("nms_pre", -1) > 0:
        test["nms_pre"] = math.ceil(test["nms_pre"] * limit / test[name])
    test[name] = limit


def check_limits(config: dict[str, Any], num_classes: int) -> None:
    """Refuse a limit above what the model's queries give, which mmdet meets only at the end.

    Raises:
        ConfigError: Names both numbers.
    """
    slots = [(node[name], name) for node, name in _slots(config)]
    if not slots:
        return
    (count, slot) = min(slots)
    for test, name in _limits(config):
        if test[name] > count * num_classes:
            message = (
                f"the config keeps {name}={test[name]} detections per image, but {slot}={count} "
                f"with {num_classes} classes give {count * num_classes}. Raise {slot} as well, "
                f"or lower {name} (segmenter.options)."
            )
            raise ConfigError(message)


def _limits(config: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    test = config["model"].get("test_cfg") or {}
    last = test.get("rcnn") or test
    for name in LIMITS:
        if isinstance(last, dict) and isinstance(last.get(name), int):
            yield last, name


def _slots(config: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    for node in walk(config["model"]):
        for name in QUERIES:
            if isinstance(node.get(name), int):
                yield node, name


def _grids(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (node for node in walk(config["model"]) if node.get("num_grids"))


def _num_cells(node: dict[str, Any]) -> int:
    return sum(side**2 for side in node["num_grids"])


def _proposal_stages(config: dict[str, Any]) -> list[dict[str, Any]]:
    model = config["model"]
    train, test = model.get("train_cfg") or {}, model.get("test_cfg") or {}
    return [stage for stage in (train.get("rpn_proposal"), test.get("rpn")) if stage]
