"""Label Studio: tasks with predictions, as brush masks and as polygons, and the labeling setup."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from mal_core.formats.exports.brush_rle import mask_to_brush
from mal_core.formats.exports.labeled import (
    Json,
    Labeled,
    LabeledObject,
    Losses,
    Photos,
)
from mal_core.geometry.polygons import mask_to_polygons
from mal_core.processes.files import atomic_path, write_json

MASKS, OUTLINES, BOXES, IMAGE = "mask", "outline", "box", "image"
TASKS, SETUP = "tasks.json", "labeling_setup.xml"
LOCAL_FILES = "/data/local-files/?d="
"""Where Label Studio serves files of its machine, relative to its document root."""
BRUSH_VERSION, POLYGON_VERSION = "mal brush", "mal polygons"


def write_label_studio(labeled: Labeled, target: Path, photos: Photos) -> Losses:
    """Write tasks.json, to be imported, and labeling_setup.xml, the project's labeling setup.

    Each task has two predictions: brush masks, exact and with the given boxes, and polygons. The
    `id` of a region is `mask_ID` or `outline_ID_PART`, where ID is the annotation's.
    """
    losses = labeled.losses()
    tasks = [_task(image, objects, photos) for image, objects in labeled.by_image()]
    for instance in labeled.objects:
        losses.wrote(instance)
    write_json(target / TASKS, tasks)
    root = labeling_setup(labeled.class_names())
    with atomic_path(target / SETUP) as temporary:
        ElementTree.ElementTree(root).write(temporary, encoding="utf-8")
    return losses


def labeling_setup(names: Sequence[str]) -> ElementTree.Element:
    """The setup of a project with these classes, as Label Studio's XML."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name=IMAGE, value="$image", zoom="true")
    kinds = {MASKS: "BrushLabels", OUTLINES: "PolygonLabels", BOXES: "RectangleLabels"}
    for name, tag in kinds.items():
        labels = ElementTree.SubElement(view, tag, name=name, toName=IMAGE)
        for value in names:
            ElementTree.SubElement(labels, "Label", value=value)
    ElementTree.indent(view)
    return view


def _task(image: Json, objects: Sequence[LabeledObject], photos: Photos) -> Json:
    url = f"{photos.url or LOCAL_FILES}{quote(image['file_name'])}"
    brush = [region for instance in objects for region in (_box(instance), _brush(instance))]
    polygons = [region for instance in objects for region in _polygons(instance)]
    score = _mean([instance.score for instance in objects if instance.score is not None])
    return {
        "data": {
            "image": url,
            "image_id": image["id"],
            "file_name": image["file_name"],
            "annotation_ids": [instance.id for instance in objects],
        },
        "predictions": [
            {"model_version": version, "result": result, **score}
            for version, result in ((BRUSH_VERSION, brush), (POLYGON_VERSION, polygons))
            if result
        ],
    }


def _mean(scores: Sequence[float]) -> dict[str, float]:
    return {"score": sum(scores) / len(scores)} if scores else {}


def _region(instance: LabeledObject, region_id: str, kind: str, name: str) -> Json:
    height, width = instance.size
    return {
        "id": region_id,
        "type": kind,
        "from_name": name,
        "to_name": IMAGE,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        **({} if instance.score is None else {"score": instance.score}),
    }


def _box(instance: LabeledObject) -> Json:
    height, width = instance.size
    x, y, w, h = instance.entry["bbox"]
    value = {
        "x": 100 * x / width,
        "y": 100 * y / height,
        "width": 100 * w / width,
        "height": 100 * h / height,
        "rotation": 0,
        "rectanglelabels": [instance.name],
    }
    region = _region(instance, f"{BOXES}_{instance.id}", "rectanglelabels", BOXES)
    return {**region, "readonly": True, "value": value}


def _brush(instance: LabeledObject) -> Json:
    value = {"format": "rle", "rle": mask_to_brush(instance.mask()), "brushlabels": [instance.name]}
    return {**_region(instance, f"{MASKS}_{instance.id}", "brushlabels", MASKS), "value": value}


def _polygons(instance: LabeledObject) -> Iterable[Json]:
    height, width = instance.size
    for part, polygon in enumerate(mask_to_polygons(instance.mask())):
        points = (polygon * 100 / [width, height]).tolist()
        value = {"points": points, "closed": True, "polygonlabels": [instance.name]}
        region = _region(instance, f"{OUTLINES}_{instance.id}_{part}", "polygonlabels", OUTLINES)
        yield {**region, "value": value}
