"""Pascal VOC: XML files, object and class masks, the list of images, the palette."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from mal_core.formats.exports.labeled import (
    HIDDEN,
    Json,
    Labeled,
    LabeledObject,
    Losses,
    Photos,
    require_own_stems,
    stem_of,
)
from mal_core.formats.voc_masks import MOST_INDICES, paint_image, voc_color
from mal_core.geometry.masks import mask_to_rle
from mal_core.processes.files import atomic_path


def write_voc(labeled: Labeled, target: Path, photos: Photos) -> Losses:
    """Write a folder like VOC2012.

    Raises:
        DatasetError: Two images would share a file.
    """
    require_own_stems(labeled, ".xml")
    losses = labeled.losses()
    for image, objects in labeled.by_image():
        stem = stem_of(image["file_name"])
        _write_masks(labeled, image, objects, target, losses)
        _write_xml(image, objects, target / "Annotations" / f"{stem}.xml")
    stems = [stem_of(image["file_name"]) for image in labeled.content["images"]]
    _write_lines(target / "ImageSets" / "Segmentation" / "train.txt", stems)
    _write_lines(target / "labelmap.txt", _palette(labeled.class_names()))
    photos.link(labeled.content, target / "JPEGImages")
    return losses


def _write_masks(
    labeled: Labeled, image: Json, objects: Sequence[LabeledObject], target: Path, losses: Losses
) -> None:
    numbers = labeled.class_numbers()
    entries = [
        {
            "segmentation": instance.rle,
            "category_id": numbers[instance.entry["category_id"]],
            "object": number,
            "area": int(instance.mask().sum()),
        }
        for number, instance in enumerate(objects, start=1)
    ]
    name = Path(f"{stem_of(image['file_name'])}.png")
    painted = paint_image(image, entries, name, target)
    if len(objects) > MOST_INDICES:
        losses.notes["images with more than 254 objects, whose masks have 16 bits"] += 1
    for number, instance in enumerate(objects, start=1):
        seen = painted == number
        if seen.any():
            losses.wrote(instance, mask_to_rle(seen))
        else:
            losses.leave_out(HIDDEN, instance.id)


def _write_xml(image: Json, objects: Sequence[LabeledObject], path: Path) -> None:
    """The boxes, in VOC's count of pixels: from 1, the last one included."""
    root = ElementTree.Element("annotation")
    name = Path(image["file_name"])
    _add(root, "folder", str(name.parent))
    _add(root, "filename", image["file_name"])
    size = ElementTree.SubElement(root, "size")
    for key, value in (("width", image["width"]), ("height", image["height"]), ("depth", 3)):
        _add(size, key, value)
    _add(root, "segmented", int(bool(objects)))
    for instance in objects:
        element = ElementTree.SubElement(root, "object")
        for key in ("pose", "truncated", "difficult"):
            _add(element, key, instance.entry.get(key, "Unspecified" if key == "pose" else 0))
        element.insert(0, ElementTree.Element("name"))
        element[0].text = instance.name
        box = ElementTree.SubElement(element, "bndbox")
        x, y, w, h = instance.entry["bbox"]
        for key, value in (("xmin", x + 1), ("ymin", y + 1), ("xmax", x + w), ("ymax", y + h)):
            _add(box, key, f"{value:g}")
    ElementTree.indent(root)
    with atomic_path(path) as temporary:
        ElementTree.ElementTree(root).write(temporary, encoding="utf-8", xml_declaration=True)


def _add(parent: ElementTree.Element, tag: str, value: object) -> None:
    ElementTree.SubElement(parent, tag).text = str(value)


def _palette(names: Sequence[str]) -> list[str]:
    """CVAT's and datumaro's labelmap.txt: `name:r,g,b::`."""
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
    for number, name in enumerate(names, start=1):
        red, green, blue = voc_color(number)
        lines.append(f"{name}:{red},{green},{blue}::")
    return lines


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
