"""YOLO: one text file of normalised boxes or polygons per image; labels return as polygons."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pycocotools import mask as coco_mask

from mal_core.data.foreign import foreign_row, is_number
from mal_core.data.images.frames import Orientation
from mal_core.data.rotated_boxes import ROTATED, extent_xywh
from mal_core.data.validation import ALLOWED_OVERHANG, overhang
from mal_core.errors import DatasetError
from mal_core.formats.class_names import NamesError, class_names, name_files, shown
from mal_core.formats.folder_files import files_below, missing_folder, unread_note
from mal_core.formats.text_rows import Dropped, pictures_below, rows_to_coco, spelling_notes
from mal_core.geometry.box_forms import CENTERS, BoxForms
from mal_core.geometry.masks import segmentation_to_mask, segmentation_to_rle
from mal_core.geometry.polygons import Points, mask_to_polygon
from mal_core.processes.files import atomic_path

Json = dict[str, Any]
BOX_FIELDS, LEAST_POLYGON_FIELDS, OBB_FIELDS = 5, 7, 9
LEAST_POSES = 2
POSE = "this is a pose, a box with key points; keep the first five numbers of each row"
LARGEST_SHARE = 2.0
"""Beyond it a number is no share of a photo's side; less overhang is told in px."""
CORNERS_OF_A_BOX = 4
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
    problems = problems or list(_form_problems(content))
    if problems:
        raise DatasetError(annotations, problems)
    return {**content, "categories": categories}


def _form_problems(content: Json) -> Iterator[str]:
    """Whether rows look as if they were of another form than was read, in words."""
    size_of = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    entries = [entry for entry in content["annotations"] if ROTATED not in entry]
    if not entries:
        return
    polygons = [entry for entry in entries if "segmentation" in entry]
    shares = [_shares(entry["segmentation"][0], size_of[entry["image_id"]]) for entry in polygons]
    if len(entries) == len(shares) >= LEAST_POSES and all(map(_say_what_is_seen, shares)):
        yield f"{entries[0]['origin']} and all other rows: {POSE}."
    corners = [entry for entry in polygons if len(entry["segmentation"][0]) == OBB_FIELDS - 1]
    reaching = [
        entry
        for entry in corners
        if overhang(entry["bbox"], size_of[entry["image_id"]]) > ALLOWED_OVERHANG
    ]
    if reaching and len(corners) == len(entries):
        yield (
            f"all {len(corners)} rows have four corners, and {len(reaching)} of them leave their "
            f"images, the first is {reaching[0]['origin']}: if they are rotated boxes (OBB), use "
            "data=yolo_obb."
        )
    forms = BoxForms()
    boxes = np.array([_as_written(entry["bbox"]) for entry in entries])
    forms.add(boxes, np.array([size_of[entry["image_id"]] for entry in entries], np.float64))
    other = forms.other_than(CENTERS)
    if other is not None and not polygons:
        yield (
            f"its {len(entries)} rows, the first is {entries[0]['origin']}, would all fit their "
            f"images as shares of {other}, but YOLO wants those of {CENTERS}, and read so some "
            "leave their images. If that is what they are, convert them."
        )


def _shares(part: Sequence[float], size: tuple[int, int]) -> list[float]:
    """The numbers of a polygon as its row has them."""
    return (np.array(part).reshape(-1, 2) / size).round(9).ravel().tolist()


def _say_what_is_seen(values: Sequence[float]) -> bool:
    """Whether numbers behind a class are those of a box and key points, each with 0, 1 or 2."""
    points = values[BOX_FIELDS - 1 :]
    return len(points) > 0 and len(points) % 3 == 0 and {*points[2::3]} <= {0, 1, 2}


def _as_written(box_xywh: Sequence[float]) -> list[float]:
    x, y, w, h = box_xywh
    return [x + w / 2, y + h / 2, w, h]


def yolo_files(images: Path, annotations: Path) -> list[Path]:
    """Label files, class names and the images, whose sizes turn shares into pixels."""
    return [*name_files(annotations), *files_below(annotations, ".txt"), *pictures_below(images)]


def yolo_notes(_images: Path, annotations: Path, content: Json) -> list[str]:
    """What is unusual about a folder that was read."""
    entries = content["annotations"]
    parts = [one["segmentation"][0] for one in entries if "segmentation" in one]
    notes = unread_note(annotations, [*name_files(annotations), *files_below(annotations, ".txt")])
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
    if _are_poses(parts):
        notes.append(
            f"all {len(parts)} polygons have {len(parts[0]) // 2} points that lie around the first "
            "as boxes with key points do: if they are poses, they are no masks; keep the first "
            "five numbers of each row."
        )
    if parts and all(len(part) == 2 * CORNERS_OF_A_BOX for part in parts):
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


def box_form_problem(words: Sequence[str]) -> str | None:
    """What is wrong with the form of a row of a box or a polygon, if anything."""
    count = len(words)
    is_polygon = count >= LEAST_POLYGON_FIELDS and count % 2 == 1
    if all(map(is_number, words)) and (count == BOX_FIELDS or is_polygon):
        return None
    wanted = "a box is five numbers: class cx cy w h; a polygon is a class and three points or more"
    if len(words) == BOX_FIELDS + 1:
        return f"{wanted}. Is the sixth a confidence? Drop it."
    if len(words) > LEAST_POLYGON_FIELDS and len(words) % 2 == 0:
        return f"{wanted}, but this has an odd number of coordinates. Is the last a confidence?"
    return f"{wanted}."


def obb_form_problem(words: Sequence[str]) -> str | None:
    """What is wrong with the form of a row of a rotated box, if anything."""
    if all(map(is_number, words)) and len(words) == OBB_FIELDS:
        return None
    wanted = "a rotated box is nine numbers: class x1 y1 x2 y2 x3 y3 x4 y4"
    if len(words) == BOX_FIELDS:
        return f"{wanted}. For boxes of five numbers use data=yolo."
    if len(words) == OBB_FIELDS + 1:
        return f"{wanted}. Is the tenth a confidence? Drop it."
    return f"{wanted}."


def is_pose(words: Sequence[str]) -> bool:
    """Whether a row of numbers may be a class, a box and key points, each seen or not."""
    return all(map(is_number, words)) and _say_what_is_seen([float(word) for word in words[1:]])


def _are_poses(parts: Sequence[Sequence[float]]) -> bool:
    """Whether polygons are boxes with key points, none of them said to be seen or not, in px."""
    if len({*map(len, parts)}) != 1 or len(parts) < LEAST_POSES or len(parts[0]) <= OBB_FIELDS - 1:
        return False
    points = np.array(parts).reshape(len(parts), -1, 2)
    middle, half = points[:, :1], points[:, 1:2] / 2
    near = (abs(points[:, 2:] - middle) <= half + 1).all(2) | (points[:, 2:] == 0).all(2)
    return bool(near.all())


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
