"""A copy of a COCO file in which pycocotools and mmdet find every mask as they want it."""

from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from mal_core.data.coco import parse_coco
from mal_core.data.crowding import is_federated
from mal_core.geometry.mask_forms import read_mask
from mal_core.geometry.masks import segmentation_to_rle
from mal_core.processes.files import write_json

Json = dict[str, Any]


def write_normal_masks(source: Path, output: Path) -> None:
    """Write a file again whose masks are unusual and sound (`MaskCensus.unusual`).

    A flat polygon becomes a list of one; parts of fewer than three points go; a crowd
    without a mask gets its box; an object with neither size nor mask goes; an absent `area`,
    or one of 0, is that of the mask, an absent `iscrowd` is 0. `ignore`, which mmdet alone heeds,
    is 0, but in a file of LVIS. All else stays.

    Raises:
        DatasetError: `source` is absent or broken.
        MaskError: A mask is not sound.
    """
    content = parse_coco(source)
    size_of = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    heeded = is_federated(content)
    annotations = [
        _normal(entry if heeded else _unignored(entry), *size_of[entry["image_id"]])
        for entry in content["annotations"]
    ]
    write_json(
        output,
        {
            **content,
            "annotations": [annotation for annotation in annotations if annotation is not None],
        },
    )


def _unignored(entry: Json) -> Json:
    return {**entry, "ignore": 0} if entry.get("ignore") else entry


def _normal(entry: Json, height: int, width: int) -> Json | None:
    crowd = int(bool(entry.get("iscrowd")))
    mask: Any = read_mask(entry.get("segmentation"), height, width)
    x, y, w, h = entry["bbox"]
    if mask is None and min(w, h) <= 0:
        return None
    if mask is None and crowd:
        mask = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    if mask is None:
        return {**entry, "iscrowd": crowd}
    area = entry.get("area")
    if not area:
        area = int(coco_mask.area(segmentation_to_rle(mask, height, width)))
    return {**entry, "iscrowd": crowd, "segmentation": mask, "area": area}
