"""CVAT: its own XML with exact masks, and COCO with polygons."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mal_core.formats.exports.coco import polygon_content
from mal_core.formats.exports.labeled import (
    Json,
    Labeled,
    LabeledObject,
    Losses,
    Photos,
)
from mal_core.processes.files import atomic_path, write_json

XML, COCO, SETUP = "annotations.xml", "instances.json", "labels.json"
ID, SCORE = "annotation_id", "score"


def write_cvat(labeled: Labeled, target: Path, photos: Photos) -> Losses:
    """Write what CVAT imports.

    annotations.xml is "CVAT for images 1.1" with masks; instances.json is "COCO 1.0" with
    polygons; labels.json is the raw form of a task's labels. The attribute `annotation_id` of a
    mask is its annotation's.
    """
    losses = labeled.losses()
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    _add_labels(root, labeled.class_names())
    for number, (image, objects) in enumerate(labeled.by_image()):
        _add_image(root, number, image, objects)
    for instance in labeled.objects:
        losses.wrote(instance)
    ElementTree.indent(root)
    with atomic_path(target / XML) as temporary:
        ElementTree.ElementTree(root).write(temporary, encoding="utf-8", xml_declaration=True)
    content = polygon_content(labeled, Losses(), crowds=False)
    write_json(target / COCO, _with_attributes(content, labeled))
    write_json(target / SETUP, [_raw_label(name) for name in labeled.class_names()], indent=1)
    photos.link(labeled.content, target / "images")  # where datumaro looks for them
    return losses


def _with_attributes(content: Json, labeled: Labeled) -> Json:
    """CVAT numbers annotations anew, and keeps attributes."""
    ours = {instance.id: instance for instance in labeled.objects}
    annotations = [
        {**entry, "attributes": _attributes(ours[entry["id"]])} for entry in content["annotations"]
    ]
    return {**content, "annotations": annotations}


def _attributes(instance: LabeledObject) -> dict[str, str]:
    return {ID: str(instance.id), SCORE: "" if instance.score is None else f"{instance.score:.4f}"}


def _raw_label(name: str) -> Json:
    attributes = [
        {"name": key, "input_type": "text", "mutable": False, "values": [""]} for key in (ID, SCORE)
    ]
    return {"name": name, "attributes": attributes}


def _add_labels(root: ElementTree.Element, names: Sequence[str]) -> None:
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    labels = ElementTree.SubElement(task, "labels")
    for name in names:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        attributes = ElementTree.SubElement(label, "attributes")
        for key in (ID, SCORE):
            attribute = ElementTree.SubElement(attributes, "attribute")
            for tag, text in (("name", key), ("mutable", "False"), ("input_type", "text")):
                ElementTree.SubElement(attribute, tag).text = text
            ElementTree.SubElement(attribute, "default_value").text = ""
            ElementTree.SubElement(attribute, "values").text = ""


def _add_image(
    root: ElementTree.Element, number: int, image: Json, objects: Sequence[LabeledObject]
) -> None:
    places = {key: str(image[key]) for key in ("width", "height")}
    named = {"id": str(number), "name": str(image["file_name"]), **places}
    element = ElementTree.SubElement(root, "image", named)
    for instance in objects:
        element.append(_mask(instance))


def _mask(instance: LabeledObject) -> ElementTree.Element:
    mask = instance.mask()
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = int(rows[0]), int(columns[0])
    inside = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    values = {
        "label": instance.name,
        "source": "auto",
        "occluded": "0",
        "rle": ", ".join(map(str, row_runs(inside))),
        "left": str(left),
        "top": str(top),
        "width": str(inside.shape[1]),
        "height": str(inside.shape[0]),
        "z_order": "0",
    }
    element = ElementTree.Element("mask", values)
    for key, value in _attributes(instance).items():
        ElementTree.SubElement(element, "attribute", name=key).text = value
    return element


def row_runs(mask: NDArray[np.uint8]) -> list[int]:
    """Lengths of runs of a 0/1 mask (H, W), row by row, of the ground first."""
    flat = np.concatenate([[0], mask.ravel(), [2]]).astype(np.int64)
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], edges])).tolist()
