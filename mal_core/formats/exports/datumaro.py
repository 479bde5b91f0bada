"""Datumaro's own format: annotations/train.json and images/train/."""

from pathlib import Path

from mal_core.formats.exports.labeled import (
    Json,
    Labeled,
    LabeledObject,
    Losses,
    Photos,
    require_own_stems,
    stem_of,
)
from mal_core.processes.files import write_json

SUBSET = "train"


def write_datumaro(labeled: Labeled, target: Path, photos: Photos) -> Losses:
    """Write a mask as RLE and the given box of each object, in one group.

    Raises:
        DatasetError: Two images would be one item.
    """
    require_own_stems(labeled, "")
    losses = labeled.losses()
    numbers = labeled.class_numbers()
    items = []
    for image, objects in labeled.by_image():
        annotations = []
        for instance in objects:
            annotations += _annotations(instance, numbers[instance.entry["category_id"]] - 1)
            losses.wrote(instance)
        items.append(
            {
                "id": stem_of(image["file_name"]),
                "attr": {"id": image["id"]},
                "annotations": annotations,
                "image": {"path": image["file_name"], "size": [image["height"], image["width"]]},
            }
        )
    names = [{"name": name, "parent": "", "attributes": []} for name in labeled.class_names()]
    content = {
        "infos": {},
        "categories": {"label": {"labels": names, "attributes": []}},
        "items": items,
    }
    write_json(target / "annotations" / f"{SUBSET}.json", content)
    photos.link(labeled.content, target / "images" / SUBSET)
    return losses


def _annotations(instance: LabeledObject, label: int) -> list[Json]:
    attributes: Json = {"annotation_id": instance.id, "is_crowd": False}
    if instance.score is not None:
        attributes["score"] = instance.score
    common = {"id": instance.id, "attributes": attributes, "group": instance.id, "label_id": label}
    return [
        {**common, "type": "mask", "rle": instance.rle, "z_order": 0},
        {**common, "type": "bbox", "bbox": instance.entry["bbox"], "z_order": 0},
    ]
