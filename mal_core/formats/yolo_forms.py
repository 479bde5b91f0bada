"""What rows of YOLO look like: boxes, polygons, rotated boxes, poses, or rows with a confidence."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mal_core.data.foreign import is_number
from mal_core.data.rotated_boxes import ROTATED
from mal_core.data.validation import overhang
from mal_core.geometry.box_forms import CENTERS, BoxForms
from mal_core.geometry.boxes import ALLOWED_OVERHANG

Json = dict[str, Any]
BOX_FIELDS, LEAST_POLYGON_FIELDS, OBB_FIELDS = 5, 7, 9
LEAST_POSES = 2
POSE = "this is a pose, a box with key points; keep the first five numbers of each row"
LEAST_UNSEEN_POSES = 10
"""Rows that must all look like poses without a word of what is seen: few polygons may by chance."""
LEAST_RECTANGLES = 5
"""Rows of four corners that must all be rectangles, before they are taken for rotated boxes."""
SQUARE_PX, TURNED_PX = 1.5, 2.0
"""Px by which rounded corners of a rectangle are off; by which one that is turned leans."""


def form_problems(content: Json) -> Iterator[str]:
    """Whether rows look as if they were of another form than was read, in words."""
    size_of = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    entries = [entry for entry in content["annotations"] if ROTATED not in entry]
    if not entries:
        return
    polygons = [entry for entry in entries if "segmentation" in entry]
    shares = [_shares(entry["segmentation"][0], size_of[entry["image_id"]]) for entry in polygons]
    if len(entries) == len(shares) >= LEAST_POSES and all(map(_say_what_is_seen, shares)):
        yield f"{entries[0]['origin']} and all other rows: {POSE}."
    parts = [entry["segmentation"][0] for entry in polygons]
    if len(parts) == len(entries) >= LEAST_UNSEEN_POSES and are_poses(parts):
        yield (
            f"all {len(parts)} rows have {len(parts[0]) // 2} points that lie around the first as "
            f"boxes with key points do, the first is {entries[0]['origin']}: {POSE}."
        )
    if len(parts) == len(entries) >= LEAST_RECTANGLES and are_turned_rectangles(parts):
        yield (
            f"all {len(parts)} rows have four corners of a rectangle, and many are turned, the "
            f"first is {entries[0]['origin']}: these are rotated boxes (OBB), and no masks. Use "
            "data=yolo_obb."
        )
        return
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


def are_turned_rectangles(parts: Sequence[Sequence[float]]) -> bool:
    """Whether polygons, px, are all rectangles, and half of them or more are not upright."""
    if {*map(len, parts)} != {OBB_FIELDS - 1}:
        return False
    points = np.array(parts).reshape(-1, 4, 2)
    sides = np.roll(points, -1, 1) - points
    lengths = np.linalg.norm(sides, axis=2)
    lean = abs(points[:, 0] + points[:, 2] - points[:, 1] - points[:, 3]).max(1)
    diagonals = np.linalg.norm(points[:, :2] - points[:, 2:], axis=2)
    square = (lean <= SQUARE_PX) & (abs(diagonals[:, 0] - diagonals[:, 1]) <= SQUARE_PX)
    turned = abs(sides[:, 0]).min(1) > np.minimum(TURNED_PX, lengths.min(1))
    return bool(square.all() and np.mean(turned) >= 0.5)


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


def box_form_problem(words: Sequence[str]) -> str | None:
    """What is wrong with the form of a row of a box or a polygon, if anything."""
    count = len(words)
    is_polygon = count >= LEAST_POLYGON_FIELDS and count % 2 == 1
    if all(map(is_number, words)) and (count == BOX_FIELDS or is_polygon):
        return None
    wanted = "a box is five numbers: class cx cy w h; a polygon is a class and three points or more"
    if len(words) == BOX_FIELDS + 1 and all(map(is_number, words)):
        return f"{wanted}. Is the {_confidence(words)} a confidence? Drop it."
    if len(words) > LEAST_POLYGON_FIELDS and len(words) % 2 == 0:
        return f"{wanted}, but this has an odd number of coordinates. Is the last a confidence?"
    if not is_number(words[0]) and len(words) >= BOX_FIELDS and all(map(is_number, words[1:])):
        return f"{wanted}. Is {words[0]!r} a name? Write the number of its class, from 0."
    return f"{wanted}."


def _confidence(words: Sequence[str]) -> str:
    """Which of the six numbers of a box may be the confidence, in words."""
    numbers = [float(word) for word in words]
    if not numbers[0].is_integer() and numbers[1].is_integer():
        return "first"
    cx, cy, w, h = numbers[1:5]
    inside = w / 2 <= cx <= 1 - w / 2 and h / 2 <= cy <= 1 - h / 2
    return "sixth" if inside else "second"


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


def are_poses(parts: Sequence[Sequence[float]]) -> bool:
    """Whether polygons are boxes with key points, none of them said to be seen or not, in px."""
    if len({*map(len, parts)}) != 1 or len(parts) < LEAST_POSES or len(parts[0]) <= OBB_FIELDS - 1:
        return False
    points = np.array(parts).reshape(len(parts), -1, 2)
    middle, half = points[:, :1], points[:, 1:2] / 2
    near = (abs(points[:, 2:] - middle) <= half + 1).all(2) | (points[:, 2:] == 0).all(2)
    return bool(near.all())
