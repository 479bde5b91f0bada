"""YOLO: one text file of normalised boxes per image; labels return as YOLO's polygons."""

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from mal_core.artifacts import atomic_path
from mal_core.data.frames import Orientation
from mal_core.data.image_headers import NotAFileError, read_header
from mal_core.errors import DatasetError
from mal_core.masks import segmentation_to_mask

Json = dict[str, Any]
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
NAME_FILES = ("data.yaml", "dataset.yaml", "classes.txt", "obj.names")
BOX_FIELDS = 5
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error)
MIN_POLYGON_POINTS = 3


def yolo_to_coco(images: Path, annotations: Path, *, orientation: Orientation = "auto") -> Json:
    """A folder of YOLO label files -> COCO.

    A line is `class x_center y_center width height`, in shares of the image's size.
    Names come from data.yaml, classes.txt or obj.names in the folder or one above it.
    An image without a label file has no objects. Shares are those of the photo as viewers show
    it, and as YOLO's own tools read it, unless `orientation` is "stored".

    Raises:
        DatasetError: Carries every problem of every file.
    """
    problems: list[str] = []
    names = _class_names(annotations, problems)
    content: Json = {
        "images": [],
        "annotations": [],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names, start=1)],
    }
    pictures = _pictures(images)
    if not pictures:
        problems.append(f"no images in {images}. Correct data.*.images.")
    for number, picture in enumerate(pictures, start=1):
        size = _size(picture, orientation, problems)
        if size is None:
            continue
        name = picture.relative_to(images)
        content["images"].append(
            {"id": number, "file_name": str(name), "width": size[0], "height": size[1]}
        )
        label_file = annotations / name.with_suffix(".txt")
        if label_file.is_file():
            _add_boxes(content, label_file, number, size, problems)
    orphans = _label_files(annotations) - {_stem(p.relative_to(images)) for p in pictures}
    problems += [f"{name}.txt has no image in {images}." for name in sorted(orphans)]
    if problems:
        raise DatasetError(annotations, problems)
    return content


def yolo_files(images: Path, annotations: Path) -> list[Path]:
    """Label files, class names and the images, whose sizes turn shares into pixels."""
    folders = (annotations, annotations.parent, annotations.parent.parent)
    names = [folder / name for folder in folders for name in NAME_FILES]
    found = [path for path in names if path.is_file()]
    return [*found, *sorted(annotations.rglob("*.txt")), *_pictures(images)]


def _pictures(images: Path) -> list[Path]:
    return sorted(path for path in images.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)


def _stem(name: Path) -> str:
    return str(name.with_suffix(""))


def _label_files(annotations: Path) -> set[str]:
    files = (path.relative_to(annotations) for path in annotations.rglob("*.txt"))
    return {_stem(path) for path in files if path.name not in NAME_FILES}


def _class_names(annotations: Path, problems: list[str]) -> list[str]:
    if not annotations.is_dir():
        problems.append("the folder of label files does not exist. Correct the path.")
        return []
    for folder in (annotations, annotations.parent, annotations.parent.parent):
        for name in NAME_FILES:
            if (folder / name).is_file():
                return _read_names(folder / name, problems)
    problems.append(f"no class names: put one of {', '.join(NAME_FILES)} beside the labels.")
    return []


def _read_names(path: Path, problems: list[str]) -> list[str]:
    if path.suffix != ".yaml":
        return [line.strip() for line in path.read_text().splitlines() if line.strip()]
    try:
        names = (yaml.safe_load(path.read_text()) or {}).get("names")
    except (yaml.YAMLError, AttributeError) as error:
        problems.append(f"{path}: no YAML mapping: {error}.")
        return []
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        problems.append(f"{path}: `names` must list the classes, or map 0, 1, ... to them.")
        return []
    return [str(name) for name in names]


def _size(picture: Path, orientation: Orientation, problems: list[str]) -> tuple[int, int] | None:
    try:
        header = read_header(picture)
    except NotAFileError as error:
        problems.append(f"{picture.name}: {error}")
        return None
    except UNREADABLE as error:
        problems.append(f"{picture.name}: cannot be read as an image: {error}.")
        return None
    return header.size if orientation == "stored" else header.shown_size


def _add_boxes(
    content: Json, path: Path, image_id: int, size: tuple[int, int], problems: list[str]
) -> None:
    num_classes = len(content["categories"])
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            values = [float(word) for word in line.split()]
        except ValueError:
            values = []
        where = f"{path.name}, line {number}"
        if len(values) != BOX_FIELDS:
            problems.append(f"{where}: {line!r}, but a box is five numbers: class cx cy w h.")
        elif values[0] != int(values[0]) or not 0 <= values[0] < num_classes:
            seen = f"{values[0]:g}"
            problems.append(f"{where}: class {seen}, but there are classes 0 to {num_classes - 1}.")
        else:
            entry = {
                "id": len(content["annotations"]) + 1,
                "image_id": image_id,
                "category_id": int(values[0]) + 1,
                "iscrowd": 0,
                "bbox": _to_xywh(values[1:], size),
                "origin": where,
            }
            content["annotations"].append(entry)


def _to_xywh(values: list[float], size: tuple[int, int]) -> list[float]:
    x, y, w, h = values
    width, height = size
    return [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]


def write_yolo_masks(labeled: Json, _annotations: Path, _images: Path, target: Path) -> None:
    """Labels as YOLO segmentation files: `class x1 y1 x2 y2 ...` in shares of the size.

    YOLO has one polygon per object and no holes. The parts of a mask are joined at their
    nearest points by a line of no width; the normal form beside it has the exact masks.
    """
    lines: dict[int, list[str]] = {image["id"]: [] for image in labeled["images"]}
    image_of = {image["id"]: image for image in labeled["images"]}
    for entry in labeled["annotations"]:
        image = image_of[entry["image_id"]]
        height, width = image["height"], image["width"]
        mask = segmentation_to_mask(entry["segmentation"], height, width)
        polygon = mask_to_polygon(mask) / [width, height]
        numbers = " ".join(f"{value:.6f}" for value in polygon.clip(0, 1).ravel())
        lines[image["id"]].append(f"{entry['category_id'] - 1} {numbers}")
    for image_id, text in lines.items():
        path = target / Path(image_of[image_id]["file_name"]).with_suffix(".txt")
        with atomic_path(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in text))


def mask_to_polygon(mask: NDArray[np.uint8]) -> NDArray[np.float64]:
    """One closed polygon through the corners of the outermost pixels of a mask.

    Args:
        mask: 0/1, shape (H, W), with at least one pixel.

    Returns:
        Points (x, y) in px, shape (N, 2), N >= 3.
    """
    doubled = np.kron(mask, np.ones((2, 2), np.uint8))  # a pixel has an area, a contour none
    contours, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    parts = sorted((c.reshape(-1, 2) for c in contours), key=len, reverse=True)
    joined = parts[0]
    for part in parts[1:]:
        distance = np.square(joined[:, None].astype(float) - part[None]).sum(2)
        here, there = np.unravel_index(int(distance.argmin()), distance.shape)
        loop = np.concatenate([part[there:], part[: there + 1]])
        joined = np.concatenate([joined[: here + 1], loop, joined[here:]])
    return np.asarray((joined + 0.5) / 2, dtype=np.float64)
