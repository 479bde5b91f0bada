"""Which instances of an annotation file mmdet trains on, and why not the others."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.config import Config

from mal_core.data.coco import drop_mask, parse_coco
from mal_core.errors import DatasetError

logger = logging.getLogger("phase2")


def report_instances(config: Config) -> None:
    """Say how many instances of the file take part in training, and why others do not.

    mmdet drops instances without a word; here each is counted.

    Raises:
        DatasetError: No instance is left, or instances are lost for unknown reasons.
    """
    settings = config.train_dataloader.dataset
    while "ann_file" not in settings:
        settings = settings.dataset
    counts = count_instances(settings.to_dict())
    logger.info("instances: %s", ", ".join(f"{count} {reason}" for reason, count in counts.items()))
    path = Path(settings.ann_file)
    if counts["used"] == 0:
        raise DatasetError(path, [f"no instance to train on: {counts}"])
    lost = counts["in the file"] - sum(n for why, n in counts.items() if why != "in the file")
    if lost != 0 or counts["ignored by mmdet"] != 0:
        raise DatasetError(path, [f"mmdet would silently ignore instances: {counts}"])


def count_instances(dataset: dict[str, Any]) -> dict[str, int]:
    """Where each annotation of a training file ends up; decodes nothing."""
    built = DATASETS.build({**dataset, "serialize_data": False, "pipeline": []})
    content = parse_coco(Path(built.ann_file), drop_mask)
    annotations = content["annotations"]
    kept_images = {info["img_id"] for info in built.data_list}
    kept = [ann for ann in annotations if ann["image_id"] in kept_images]
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    loader = TRANSFORMS.build({"type": "LoadAnnotations", "with_mask": True})
    ignored = used = crowds = 0
    for info in built.data_list:
        instances = [dict(instance) for instance in info["instances"]]
        crowds += sum(instance["ignore_flag"] for instance in instances)
        results = {"instances": [i for i in instances if not i["ignore_flag"]]}
        loader._process_masks(results)  # its verdict is what is wanted, not the masks
        flags = np.asarray(results["gt_ignore_flags"], dtype=bool)
        ignored += int(flags.sum())
        used += int((~flags).sum())
    degenerate = sum(_degenerate(ann, *sizes[ann["image_id"]]) for ann in kept)
    return {
        "in the file": len(annotations),
        "used": used,
        "crowds": crowds,
        "on filtered images": len(annotations) - len(kept),
        "too small or outside (box under 1 px, area 0)": degenerate,
        "ignored by mmdet": ignored,
    }


def _degenerate(annotation: dict[str, Any], width: int, height: int) -> bool:
    x, y, w, h = annotation["bbox"]
    inside = min(x + w, width) > max(x, 0) and min(y + h, height) > max(y, 0)
    marked = bool(annotation.get("ignore"))
    return marked or not inside or annotation["area"] <= 0 or w < 1 or h < 1
