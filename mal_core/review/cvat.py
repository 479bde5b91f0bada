"""CVAT's XML ("CVAT for images 1.1"): masks and polygons with the attribute `annotation_id`."""

import contextlib
import reprlib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mal_core.data.text import GZIP, TextError, unpacked
from mal_core.errors import DatasetError
from mal_core.formats.exports.cvat import ID
from mal_core.geometry.masks import mask_to_rle
from mal_core.review.decisions import WHOLE_NUMBER
from mal_core.review.given import Given, Shape

EXPORT = "Export the task as 'CVAT for images 1.1' or 'COCO 1.0'."
OTHERS = ("box", "polyline", "points", "ellipse", "cuboid", "skeleton")
MAX_PIXELS = 1 << 31


def read_cvat(path: Path) -> Given:
    """The shapes of a CVAT file; one image is in memory at a time.

    Raises:
        DatasetError: It is no such file, or a shape is broken; carries all problems.
    """
    problems: list[str] = []
    found = Given(tool="CVAT")
    images = 0
    try:
        with _opened(path) as stream:
            for event, element in ElementTree.iterparse(stream, ("start", "end")):
                if event == "start":
                    _refuse_tracks(element, path)
                elif element.tag == "image":
                    images += 1
                    found.shapes += _shapes(element, problems)
                    _leave_out(element, found)
                    element.clear()
    except TextError as error:
        raise DatasetError(path, [str(error)]) from error
    except (ElementTree.ParseError, ValueError) as error:
        raise DatasetError(path, [f"is no XML that can be read: {error}. {EXPORT}"]) from error
    if not images and not problems:
        problems.append(f"has no <image>. {EXPORT}")
    if problems:
        raise DatasetError(path, problems)
    found.note_others()
    return found


def _leave_out(image: ElementTree.Element, found: Given) -> None:
    """Remember the photo, and what is on it and is no mask."""
    name = image.get("name", "")
    found.photos.append(name)
    for child in image:
        if child.tag in OTHERS:
            given = _attribute(child)
            where = f"{name}, annotation {reprlib.repr(given)[1:-1]}" if given else name
            found.leave_out(f"<{child.tag}>", where)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as stream:
        packed = stream.read(2) == GZIP
        stream.seek(0)
        if not packed:
            yield stream
            return
    with unpacked(path) as plain:
        yield plain


def _refuse_tracks(element: ElementTree.Element, path: Path) -> None:
    if element.tag == "track":
        raise DatasetError(path, [f"has <track>, as 'CVAT for video' writes it. {EXPORT}"])


def _shapes(image: ElementTree.Element, problems: list[str]) -> Iterator[Shape]:
    name = image.get("name", "")
    sides = [_whole(image, key) for key in ("width", "height")]
    if not name or any(not side for side in sides) or sides[0] * sides[1] >= MAX_PIXELS:
        problems.append(f"image {name or image.get('id')!r} has no name or no size. {EXPORT}")
        return
    for index, shape in enumerate(shape for shape in image if shape.tag in ("mask", "polygon")):
        where = f"{shape.tag} {index} (from 0) of {name}"
        given = _attribute(shape)
        if given and not WHOLE_NUMBER.fullmatch(given):
            problems.append(f"{where} has {ID}={reprlib.repr(given)}, which is no whole number.")
            continue
        read = _mask if shape.tag == "mask" else _polygon
        yield Shape(
            where=f"{where}, annotation {given}" if given else where,
            key=int(given) if given else None,
            group="shape",
            file_name=name,
            size=(sides[0], sides[1]),
            category=shape.get("label"),
            draw=partial(read, dict(shape.attrib), sides[0], sides[1]),
        )


def _attribute(shape: ElementTree.Element) -> str:
    values = [
        attribute.text or "" for attribute in shape.iter("attribute") if attribute.get("name") == ID
    ]
    return values[0].strip() if values else ""


def _whole(element: ElementTree.Element | Mapping[str, str], key: str) -> int:
    text = (element.get(key) or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _mask(shape: Mapping[str, str], width: int, height: int) -> object:
    left, top = _offset(shape, "left"), _offset(shape, "top")
    wide, high = _whole(shape, "width"), _whole(shape, "height")
    texts = [text.strip() for text in (shape.get("rle") or "").split(",")]
    if not all(text.isascii() and text.isdigit() and len(text) < 12 for text in texts):
        message = "its rle must be whole numbers of pixels, separated by commas."
        raise ValueError(message)
    runs = [int(text) for text in texts]
    if not wide or not high or left + wide > width or top + high > height:
        message = f"its window does not lie in the image of {width} x {height} px."
        raise ValueError(message)
    if sum(runs) != wide * high:
        message = f"its rle adds up to {sum(runs)} px, but its window has {wide * high}."
        raise ValueError(message)
    values = np.repeat(np.arange(len(runs)) % 2, runs).astype(np.uint8).reshape(high, wide)
    mask = np.zeros((height, width), np.uint8)
    mask[top : top + high, left : left + wide] = values
    return mask_to_rle(mask)


def _offset(shape: Mapping[str, str], key: str) -> int:
    text = (shape.get(key) or "").strip()
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        message = f"its {key} is no whole number of pixels."
        raise ValueError(message)
    return int(text)


def _polygon(shape: Mapping[str, str], _width: int, _height: int) -> object:
    try:
        numbers = [float(side) for pair in shape.get("points", "").split(";")
                   for side in pair.split(",", 1)]  # fmt: skip
    except ValueError as error:
        message = "its points must be x,y;x,y in px."
        raise ValueError(message) from error
    if len(numbers) % 2 or len(numbers) < 6:
        message = "it has fewer than three points."
        raise ValueError(message)
    return [numbers]
