"""Pascal VOC: one XML file of boxes per image; masks are indexed PNG files."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mal_core.artifacts import atomic_path
from mal_core.data.formats.coco_family import read_json
from mal_core.errors import DatasetError
from mal_core.masks import segmentation_to_mask

Json = dict[str, Any]
OUTSIDE, MAX_OBJECTS = 0, 254


def voc_to_coco(_images: Path, annotations: Path) -> Json:
    """A folder of VOC XML files -> COCO.

    VOC counts pixels from 1 and includes the last one: (xmin, xmax) becomes
    [xmin - 1, xmax). Classes are numbered in alphabetical order. `difficult`,
    `truncated` and `pose` stay as fields of the annotation.

    Args:
        annotations: The folder `Annotations`, or a list of names (ImageSets/Main/x.txt)
            whose XML files lie in `Annotations` two folders up.

    Raises:
        DatasetError: Carries every problem of every file.
    """
    problems: list[str] = []
    parsed = [(path, _parse(path, problems)) for path in _xml_files(annotations, problems)]
    names = sorted({str(o["name"]) for _, file in parsed if file for o in file["objects"]})
    category_of = {name: number for number, name in enumerate(names, start=1)}
    content: Json = {
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": name} for name, number in category_of.items()],
    }
    for number, (path, file) in enumerate(parsed, start=1):
        if file is None:
            continue
        image = {key: file[key] for key in ("file_name", "width", "height")}
        content["images"].append({"id": number, **image, "origin": path.name})
        for index, entry in enumerate(file["objects"], start=1):
            known = {"category_id": category_of[entry.pop("name")], "image_id": number}
            entry_id = len(content["annotations"]) + 1
            origin = f"{path.name}, object {index}"
            content["annotations"].append(
                {"id": entry_id, **known, "iscrowd": 0, **entry, "origin": origin}
            )
    if problems:
        raise DatasetError(annotations, problems)
    return content


def voc_files(_images: Path, annotations: Path) -> list[Path]:
    """The list, where there is one, and the XML files."""
    return [*([annotations] if annotations.is_file() else []), *_xml_files(annotations, [])]


def _xml_files(annotations: Path, problems: list[str]) -> list[Path]:
    if annotations.is_file():
        folder = annotations.absolute().parents[2] / "Annotations"
        names = [line.split()[0] for line in annotations.read_text().splitlines() if line.strip()]
        return [folder / f"{name}.xml" for name in names]
    if not annotations.is_dir():
        problems.append("does not exist. Give the folder `Annotations`, or a list in ImageSets.")
        return []
    files = sorted(annotations.glob("*.xml"))
    if not files:
        problems.append("no XML files. Give the folder `Annotations`, or a list in ImageSets.")
    return files


def _parse(path: Path, problems: list[str]) -> Json | None:
    try:
        root = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        problems.append(f"{path.name}: the file does not exist. Add it or drop its name.")
        return None
    except ElementTree.ParseError as error:
        problems.append(f"{path.name}: broken XML: {error}. Is the file complete?")
        return None
    before = len(problems)
    file: Json = {
        "file_name": root.findtext("filename") or f"{path.stem}.jpg",
        "width": _number(root, "size/width", path.name, problems),
        "height": _number(root, "size/height", path.name, problems),
        "objects": [],
    }
    for index, element in enumerate(root.iter("object"), start=1):
        where = f"{path.name}: object {index}"
        name = element.findtext("name")
        if not name:
            problems.append(f"{where} has no <name>. Add its class.")
        corners = [
            _number(element, f"bndbox/{key}", where, problems)
            for key in ("xmin", "ymin", "xmax", "ymax")
        ]
        file["objects"].append({"name": name or "", "bbox": _to_xywh(corners), **_flags(element)})
    return file if len(problems) == before else None


def _to_xywh(corners: list[float]) -> list[float]:
    xmin, ymin, xmax, ymax = corners
    return [xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1]


def _flags(element: ElementTree.Element) -> Json:
    kept: Json = {
        key: int(text)
        for key in ("difficult", "truncated")
        if (text := element.findtext(key, "").strip()).isdigit()
    }
    pose = element.findtext("pose")
    return {**kept, "pose": pose} if pose else kept


def _number(element: ElementTree.Element, key: str, where: str, problems: list[str]) -> Any:
    text = element.findtext(key)
    try:
        value = float(text or "")
    except ValueError:
        problems.append(f"{where} has {key}={text!r}, but it must be a number.")
        return 0
    return int(value) if value == int(value) else value


def write_voc_masks(labeled: Json, _annotations: Path, _images: Path, target: Path) -> None:
    """Labels as VOC's SegmentationObject and SegmentationClass, one PNG each per image.

    A pixel of SegmentationObject holds the number of its object within the image, in the
    order of the XML file; where masks overlap, the smaller one lies on top. Index 0 is
    no object.

    Raises:
        DatasetError: An image has more objects than a PNG has indices.
    """
    by_image: dict[int, list[Json]] = {image["id"]: [] for image in labeled["images"]}
    for entry in labeled["annotations"]:
        by_image[entry["image_id"]].append(entry)
    crowded = [str(number) for number, entries in by_image.items() if len(entries) > MAX_OBJECTS]
    if crowded:
        problem = f"images {', '.join(crowded)} have more than {MAX_OBJECTS} objects."
        raise DatasetError(target, [problem])
    for image in labeled["images"]:
        objects, classes = _paint(image, by_image[image["id"]])
        stem = Path(image["origin"]).stem
        for folder, pixels in (("SegmentationObject", objects), ("SegmentationClass", classes)):
            with atomic_path(target / folder / f"{stem}.png") as temporary:
                _write_indexed(pixels, temporary)


def _paint(
    image: Mapping[str, Any], entries: list[Json]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    height, width = image["height"], image["width"]
    objects = np.full((height, width), OUTSIDE, dtype=np.uint8)
    classes = objects.copy()
    numbered = list(enumerate(entries, start=1))
    for number, entry in sorted(numbered, key=lambda pair: -float(pair[1]["area"])):
        mask = segmentation_to_mask(entry["segmentation"], height, width) > 0
        objects[mask] = number
        classes[mask] = entry["category_id"]
    return objects, classes


def _write_indexed(pixels: NDArray[np.uint8], path: Path) -> None:
    picture = Image.fromarray(pixels, mode="P")
    picture.putpalette([value for index in range(256) for value in _voc_color(index)])
    picture.save(path, format="PNG")


def _voc_color(index: int) -> tuple[int, int, int]:
    """VOC's palette: the bits of the index, three at a time, from the highest bit down."""
    red = green = blue = 0
    for shift in range(7, -1, -1):
        red |= (index & 1) << shift
        green |= (index >> 1 & 1) << shift
        blue |= (index >> 2 & 1) << shift
        index >>= 3
    return red, green, blue


def read_class_names(path: Path) -> list[str]:
    """Names of a labeled normal form, in the order of SegmentationClass's indices."""
    return [str(category["name"]) for category in read_json(path)["categories"]]
