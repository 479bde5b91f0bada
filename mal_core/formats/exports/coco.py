"""COCO and its relatives: masks as RLE or polygons, LVIS, and what FiftyOne loads."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from mal_core.formats.exports.labeled import CROWD, NO_MASK, Labeled, LabeledObject, Losses, Photos
from mal_core.geometry.polygons import mask_to_polygons, polygons_to_rle
from mal_core.processes.files import write_json

Json = dict[str, Any]
Segmentation = Callable[[LabeledObject, Losses], object]
URL = "http://images.cocodataset.org/"
"""Readers of LVIS cut this off a `coco_url` and take the rest for the file's place."""
RARE_IMAGES, COMMON_IMAGES = 10, 100
"""LVIS's groups of classes: by the number of images that show them, at most."""


def write_coco_rle(labeled: Labeled, target: Path, _photos: Photos) -> Losses:
    """COCO with every mask as RLE; all else as it was."""
    losses = Losses()
    content = {**labeled.content, "annotations": _annotations(labeled, as_rle, losses, crowds=True)}
    write_json(target / "annotations.json", content)
    return losses


def write_coco_polygon(labeled: Labeled, target: Path, _photos: Photos) -> Losses:
    """COCO with every mask as polygons, holes kept; crowds are RLE in COCO."""
    losses = Losses()
    write_json(target / "annotations.json", polygon_content(labeled, losses))
    return losses


def polygon_content(labeled: Labeled, losses: Losses, *, crowds: bool = True) -> Json:
    """The file with every mask as polygons, with its crowds or without."""
    annotations = _annotations(labeled, as_polygons, losses, crowds=crowds)
    return {**labeled.content, "annotations": annotations}


def write_lvis(labeled: Labeled, target: Path, _photos: Photos) -> Losses:
    """LVIS v1: polygons, the negatives of each image, the frequency of each class.

    Images without them get empty lists: nothing is known to be absent.
    """
    losses = Losses()
    annotations = _annotations(labeled, as_polygons, losses, crowds=False)
    images = [
        {
            "coco_url": f"{URL}{image['file_name']}",
            "neg_category_ids": [],
            "not_exhaustive_category_ids": [],
            **image,
        }
        for image in labeled.content["images"]
    ]
    for entry in annotations:
        entry.pop("iscrowd", None)
    categories = _lvis_categories(labeled.content["categories"], annotations)
    content = {**labeled.content, "images": images, "annotations": annotations}
    write_json(target / "annotations.json", {**content, "categories": categories})
    return losses


def write_fiftyone(labeled: Labeled, target: Path, photos: Photos) -> Losses:
    """FiftyOne's COCODetectionDataset: labels.json and the folder data.

    FiftyOne keeps the part of a mask that lies in the `bbox`, so that is the mask's own here; the
    given one is the attribute `box_xywh`.
    """
    losses = Losses()
    annotations = _annotations(labeled, as_rle, losses, crowds=True)
    for entry in annotations:
        if not entry.get("iscrowd"):
            entry["box_xywh"] = entry["bbox"]
            entry["bbox"] = coco_mask.toBbox(entry["segmentation"]).tolist()
    write_json(target / "labels.json", {**labeled.content, "annotations": annotations})
    photos.link(labeled.content, target / "data")
    return losses


def as_rle(instance: LabeledObject, losses: Losses) -> object:
    """The mask as compressed RLE."""
    losses.wrote(instance)
    return instance.rle


def as_polygons(instance: LabeledObject, losses: Losses) -> object:
    """The mask as one polygon per part, with holes; what pycocotools makes of them is counted."""
    polygons = mask_to_polygons(instance.mask())
    losses.wrote(instance, polygons_to_rle(polygons, *instance.size))
    return [polygon.ravel().tolist() for polygon in polygons]


def _annotations(
    labeled: Labeled, form: Segmentation, losses: Losses, *, crowds: bool
) -> list[Json]:
    """Annotations in file order, those with a mask in one form."""
    found = {
        instance.id: {
            "iscrowd": 0,
            "area": int(coco_mask.area(instance.rle)),
            **instance.entry,
            "segmentation": form(instance, losses),
        }
        for instance in labeled.objects
    }
    if crowds:
        found |= {entry["id"]: entry for entry in labeled.crowds}
    else:
        losses.leave_out(CROWD, *(entry["id"] for entry in labeled.crowds))
    losses.leave_out(NO_MASK, *labeled.unmasked)
    ids = [entry["id"] for entry in labeled.content["annotations"]]
    return [found[key] for key in ids if key in found]


def _lvis_categories(categories: Iterable[Json], annotations: Iterable[Json]) -> list[Json]:
    images: dict[int, set[int]] = defaultdict(set)
    instances: dict[int, int] = defaultdict(int)
    for entry in annotations:
        images[entry["category_id"]].add(entry["image_id"])
        instances[entry["category_id"]] += 1
    return [
        {
            "frequency": _frequency(len(images[entry["id"]])),
            "synonyms": [str(entry["name"])],
            **entry,
            "image_count": len(images[entry["id"]]),
            "instance_count": instances[entry["id"]],
        }
        for entry in categories
    ]


def _frequency(num_images: int) -> str:
    if num_images <= RARE_IMAGES:
        return "r"
    return "c" if num_images <= COMMON_IMAGES else "f"
