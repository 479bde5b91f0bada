"""YOLO: one text file of normalised boxes or polygons per image; labels return as polygons."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pycocotools import mask as coco_mask

from mal_core.data.foreign import foreign_row
from mal_core.data.images.frames import Orientation
from mal_core.data.images.walking import files_below
from mal_core.data.rotated_boxes import ROTATED, extent_xywh
from mal_core.errors import DatasetError
from mal_core.formats.class_names import (
    NamesError,
    class_names,
    name_files,
    names_notes,
    shown,
)
from mal_core.formats.folder_files import missing_folder, other_photos_note, unread_note
from mal_core.formats.text_rows import (
    Dropped,
    pictures_below,
    rows_to_coco,
    spelling_notes,
    texts_read,
)
from mal_core.formats.yolo_forms import (
    BOX_FIELDS,
    OBB_FIELDS,
    POSE,
    are_poses,
    box_form_problem,
    form_problems,
    is_pose,
    obb_form_problem,
)
from mal_core.geometry.masks import segmentation_to_mask, segmentation_to_rle
from mal_core.geometry.polygons import Points, mask_to_polygon
from mal_core.processes.files import atomic_path

Json = dict[str, Any]
LARGEST_SHARE = 2.0
"""Beyond it a number is no share of a photo's side; less overhang is told in px."""
RowForm = tuple[
    Callable[[Sequence[float], tuple[int, int]], Json], Callable[[Sequence[str]], str | None]
]
"""Numbers of a row after its class and the image's (width, height), px -> its place in px; words
of a row -> what is wrong with them, if anything."""


def yolo_to_coco(
    images: Path,
    annotations: Path,
    *,
    orientation: Orientation = "auto",
    dropped: Dropped | None = None,
) -> Json:
    """A folder of YOLO label files -> COCO.

    A line is `class x_center y_center width height`, or `class x1 y1 x2 y2 x3 y3 ...`, a
    polygon: both in shares of the image's size. A polygon is a mask, and its extent the box;
    several parts, and holes, are joined by lines of no width, as ultralytics joins them.
    Names come from data.yaml, the only other *.yaml with `names`, classes.txt or obj.names in
    the folder or up to two above it.
    An image without a label file has no objects. Shares are those of the photo as viewers show
    it, and as YOLO's own tools read it, unless `orientation` is "stored".

    Raises:
        DatasetError: Carries every problem of every file.
    """
    return shares_to_coco(images, annotations, orientation, (_shape, box_form_problem), dropped)


def yolo_obb_to_coco(
    images: Path,
    annotations: Path,
    *,
    orientation: Orientation = "auto",
    dropped: Dropped | None = None,
) -> Json:
    """A folder of YOLO-OBB label files, `class x1 y1 x2 y2 x3 y3 x4 y4` a line -> COCO.

    The four corners, in shares of the image's size, are a rotated box and no mask. All else is
    as for `yolo_to_coco`.

    Raises:
        DatasetError: Carries every problem of every file.
    """
    return shares_to_coco(
        images, annotations, orientation, (_rotated_shape, obb_form_problem), dropped
    )


def shares_to_coco(
    images: Path,
    annotations: Path,
    orientation: Orientation,
    form: RowForm,
    dropped: Dropped | None = None,
) -> Json:
    """A folder of text files of shares -> COCO.

    Args:
        images: Folder of the photos.
        annotations: Folder of the text files.
        orientation: Of the photos that the shares are of.
        form: How a row is read.
        dropped: As for `rows_to_coco`.

    Raises:
        DatasetError: Carries every problem of every file.
    """
    problems: list[str] = []
    shape, form_problem = form
    names = _names(annotations, problems)
    categories = [{"id": i, "name": name} for i, name in enumerate(names, start=1)]

    def read(line: str, size: tuple[int, int]) -> Json | str:
        problem = _row_problem(line, len(categories), form_problem)
        if problem is not None:
            return problem
        kind, *values = map(float, line.split())
        return {"category_id": int(kind) + 1, "iscrowd": 0, **shape(values, size)}

    content = rows_to_coco(images, annotations, orientation, read, problems, dropped)
    problems = problems or list(form_problems(content))
    if problems:
        raise DatasetError(annotations, problems)
    return {**content, "categories": categories}


def yolo_files(images: Path, annotations: Path) -> list[Path]:
    """Label files, class names and the images, whose sizes turn shares into pixels."""
    return [*name_files(annotations), *files_below(annotations, ".txt"), *pictures_below(images)]


def yolo_notes(images: Path, annotations: Path, content: Json) -> list[str]:
    """What is unusual about a folder that was read."""
    entries = content["annotations"]
    parts = [one["segmentation"][0] for one in entries if "segmentation" in one]
    read = [*name_files(annotations), *texts_read(annotations, content)]
    notes = [*unread_note(annotations, read, images), *other_photos_note(images)]
    notes += names_notes(annotations, [one["name"] for one in content["categories"]])
    rows: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for one in entries:
        rows[one["image_id"], one["category_id"], *one["bbox"]].append(one["origin"])
    doubled = [origin for origins in rows.values() for origin in origins[1:]]
    if doubled:
        notes.append(
            f"{len(doubled)} rows, such as {doubled[0]}, have the class and box of another of "
            "their image."
        )
    if parts and len(parts) < len(entries):
        box = next(one["origin"] for one in entries if "segmentation" not in one)
        count = len(entries) - len(parts)
        notes.append(f"{len(parts)} rows are polygons, {count} are boxes, such as {box}.")
    notes += spelling_notes(content)
    if are_poses(parts):
        notes.append(
            f"all {len(parts)} polygons have {len(parts[0]) // 2} points that lie around the first "
            "as boxes with key points do: if they are poses, they are no masks; keep the first "
            "five numbers of each row."
        )
    if parts and all(len(part) == OBB_FIELDS - 1 for part in parts):
        notes.append(
            f"all {len(parts)} polygons have four corners: if they are rotated boxes (OBB), they "
            "are no masks; use data=yolo_obb."
        )
    return notes


def _names(annotations: Path, problems: list[str]) -> list[str]:
    if not annotations.is_dir():
        seen = missing_folder(annotations)
        problems.append(f"{seen}. Give the folder of label files, such as labels/train.")
        return []
    try:
        return class_names(annotations)
    except NamesError as error:
        problems.append(str(error))
        return []


def _row_problem(
    line: str, num_classes: int, form_problem: Callable[[Sequence[str]], str | None]
) -> str | None:
    """What is wrong with a row, if anything; without classes there is a problem already."""
    words = line.split()
    foreign = foreign_row(line)
    if foreign is not None:
        return f"{foreign}."
    problem = form_problem(words)
    if problem is not None:
        return f"{shown(line)}: {f'{POSE}.' if is_pose(words) else problem}"
    kind, *values = map(float, words)
    strange = [word for word, value in zip(words[1:], values, strict=True) if not _is_share(value)]
    if strange and is_pose(words):
        return f"{shown(line)}: {POSE}."
    if strange:
        return (
            f"{shown(strange[0])} is no share of the image's size. Divide x by its width and y "
            "by its height, in px."
        )
    if not (math.isfinite(kind) and kind == int(kind) and kind >= 0) or (
        num_classes and kind >= num_classes
    ):
        counted = " Are they counted from 1 here?" if kind == num_classes else ""
        return f"class {kind:g}, but there are classes 0 to {num_classes - 1}.{counted}"
    return None


def _is_share(value: float) -> bool:
    return -LARGEST_SHARE < value < LARGEST_SHARE


def _shape(values: Sequence[float], size: tuple[int, int]) -> Json:
    """Box, and mask where the row is a polygon, in px."""
    if len(values) == BOX_FIELDS - 1:
        return {"bbox": _to_xywh(values, size)}
    points = np.array(values).reshape(-1, 2) * size
    (x0, y0), (x1, y1) = points.min(0).tolist(), points.max(0).tolist()
    polygon = [points.ravel().tolist()]
    area = int(coco_mask.area(segmentation_to_rle(polygon, size[1], size[0])))
    return {"bbox": [x0, y0, x1 - x0, y1 - y0], "segmentation": polygon, "area": area}


def _rotated_shape(values: Sequence[float], size: tuple[int, int]) -> Json:
    corners = (np.array(values).reshape(-1, 2) * size).ravel().tolist()
    return {"bbox": extent_xywh(corners, size), ROTATED: corners}


def _to_xywh(values: Sequence[float], size: tuple[int, int]) -> list[float]:
    x, y, w, h = values
    width, height = size
    return [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]


def write_yolo_masks(labeled: Json, _annotations: Path, _images: Path, target: Path) -> None:
    """Labels as YOLO segmentation files: `class x1 y1 x2 y2 ...` in shares of the size.

    YOLO has one polygon per object. The parts of a mask, and its holes, are joined at their
    nearest points by a line of no width; the normal form beside it has the exact masks. Class
    names are in data.yaml, quoted where YAML would make other types of them.
    """
    names = [entry["name"] for entry in sorted(labeled["categories"], key=lambda one: one["id"])]
    write_names(target / "data.yaml", names)
    write_rows(labeled, target)


def write_names(path: Path, names: Sequence[str], **rest: str) -> None:
    """The YAML file of a YOLO dataset: class names by number, and other keys before them."""
    with atomic_path(path) as temporary:
        values = {**rest, "names": dict(enumerate(names))}
        text = yaml.safe_dump(values, allow_unicode=True, sort_keys=False)
        temporary.write_text(text, encoding="utf-8")


def write_rows(
    labeled: Json,
    target: Path,
    wrote: Callable[[Json, Points], None] = lambda _entry, _points: None,
) -> None:
    """One text file per image with a polygon per annotation.

    Args:
        labeled: COCO whose categories are numbered from 1 and whose annotations all have masks.
        target: Folder of the files.
        wrote: Told of each annotation and of the polygon, px, (N, 2), that stands for its mask.
    """
    lines: dict[int, list[str]] = {image["id"]: [] for image in labeled["images"]}
    image_of = {image["id"]: image for image in labeled["images"]}
    for entry in labeled["annotations"]:
        image = image_of[entry["image_id"]]
        height, width = image["height"], image["width"]
        polygon = mask_to_polygon(segmentation_to_mask(entry["segmentation"], height, width))
        shares = (polygon / [width, height]).clip(0, 1)
        numbers = " ".join(f"{value:.6f}" for value in shares.ravel())
        lines[image["id"]].append(f"{entry['category_id'] - 1} {numbers}")
        wrote(entry, shares.round(6) * [width, height])
    for image_id, text in lines.items():
        path = target / Path(image_of[image_id]["file_name"]).with_suffix(".txt")
        with atomic_path(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in text))
