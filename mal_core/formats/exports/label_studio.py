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
    for one in labeled.objects:
        losses.wrote(one)
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
    brush = [region for one in objects for region in (_box(one), _brush(one))]
    polygons = [region for one in objects for region in _polygons(one)]
    score = _mean([one.score for one in objects if one.score is not None])
    return {
        "data": {
            "image": url,
            "image_id": image["id"],
            "file_name": image["file_name"],
            "annotation_ids": [one.id for one in objects],
        },
        "predictions": [
            {"model_version": version, "result": result, **score}
            for version, result in ((BRUSH_VERSION, brush), (POLYGON_VERSION, polygons))
            if result
        ],
    }


def _mean(scores: Sequence[float]) -> dict[str, float]:
    return {"score": sum(scores) / len(scores)} if scores else {}


def _region(one: LabeledObject, region_id: str, kind: str, name: str) -> Json:
    height, width = one.size
    return {
        "id": region_id,
        "type": kind,
        "from_name": name,
        "to_name": IMAGE,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        **({} if one.score is None else {"score": one.score}),
    }


def _box(one: LabeledObject) -> Json:
    height, width = one.size
    x, y, w, h = one.entry["bbox"]
    value = {
        "x": 100 * x / width,
        "y": 100 * y / height,
        "width": 100 * w / width,
        "height": 100 * h / height,
        "rotation": 0,
        "rectanglelabels": [one.name],
    }
    region = _region(one, f"{BOXES}_{one.id}", "rectanglelabels", BOXES)
    return {**region, "readonly": True, "value": value}


def _brush(one: LabeledObject) -> Json:
    value = {"format": "rle", "rle": mask_to_brush(one.mask()), "brushlabels": [one.name]}
    return {**_region(one, f"{MASKS}_{one.id}", "brushlabels", MASKS), "value": value}


def _polygons(one: LabeledObject) -> Iterable[Json]:
    height, width = one.size
    for part, polygon in enumerate(mask_to_polygons(one.mask())):
        points = (polygon * 100 / [width, height]).tolist()
        value = {"points": points, "closed": True, "polygonlabels": [one.name]}
        region = _region(one, f"{OUTLINES}_{one.id}_{part}", "polygonlabels", OUTLINES)
        yield {**region, "value": value}
