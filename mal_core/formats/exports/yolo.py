"""A YOLO segmentation dataset: labels/*.txt, data.yaml and, where photos are, images/."""

from pathlib import Path

from mal_core.formats.exports.labeled import (
    Json,
    Labeled,
    LabeledObject,
    Losses,
    Photos,
    require_own_stems,
)
from mal_core.formats.yolo import write_names, write_rows
from mal_core.geometry.polygons import Points, count_parts, drawn_polygon_to_rle


def write_yolo(labeled: Labeled, target: Path, photos: Photos) -> Losses:
    """Write the dataset; what ultralytics draws for each polygon is counted as its mask.

    Raises:
        DatasetError: Two images would share a file.
    """
    require_own_stems(labeled, ".txt")
    losses = labeled.losses()
    numbers = labeled.class_numbers()
    object_of = {instance.id: instance for instance in labeled.objects}
    content: Json = {
        "images": labeled.content["images"],
        "annotations": [
            {
                **instance.entry,
                "category_id": numbers[instance.entry["category_id"]],
                "segmentation": instance.rle,
            }
            for instance in labeled.objects
        ],
    }

    def wrote(entry: Json, polygon: Points) -> None:
        instance = object_of[entry["id"]]
        losses.wrote(instance, drawn_polygon_to_rle(polygon, *instance.size))
        _note(instance, losses)

    write_rows(content, target / "labels", wrote)
    # Without `path`: ultralytics then starts from the folder of this file.
    write_names(target / "data.yaml", labeled.class_names(), train="images", val="images")
    photos.link(labeled.content, target / "images")
    return losses


def _note(instance: LabeledObject, losses: Losses) -> None:
    parts, holes = count_parts(instance.mask())
    if parts > 1:
        losses.notes["masks of several parts, joined by lines"] += 1
    if holes:
        losses.notes["masks with holes, joined to the outline by lines"] += 1
