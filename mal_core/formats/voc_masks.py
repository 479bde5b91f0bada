"""Pascal VOC's masks: indexed PNG files, one per image, beside the folder `Annotations`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mal_core.data.images.headers import UNREADABLE, NotAFileError, require_file
from mal_core.geometry.masks import mask_to_rle, segmentation_to_mask
from mal_core.processes.files import atomic_path
from mal_core.types import Rle

Json = dict[str, Any]
OBJECTS, CLASSES = "SegmentationObject", "SegmentationClass"
OUTSIDE, VOID = 0, 255
MOST_INDICES = 254
"""Of a PNG with a palette; images with more objects, or files with more classes, get 16 bits."""


class MaskFileError(ValueError):
    """Why a mask file cannot be used; without its name."""


def read_object_masks(path: Path, size: tuple[int, int], num_objects: int) -> list[Rle | None]:
    """Masks of an image's objects, in the order of its XML file; None where there is no pixel.

    Args:
        path: SegmentationObject/x.png: indices, or the colours of VOC's palette.
        size: Width and height of the image, px.
        num_objects: In the XML file.

    Raises:
        MaskFileError: Another size, an index that no object has, or no file at all.
    """
    try:
        require_file(path)
    except NotAFileError as error:
        raise MaskFileError(str(error)) from error
    indices, void = _indices(path)
    height, width = indices.shape
    if (width, height) != size:
        message = f"is {width} x {height} px, but its image {size[0]} x {size[1]} (width x height)."
        raise MaskFileError(message)
    used = [int(index) for index in np.unique(indices) if index not in (OUTSIDE, void)]
    if used and used[-1] > num_objects:
        message = (
            f"has the index {used[-1]}, but the XML file has {num_objects} objects. Indices are "
            "the objects' places in it, from 1."
        )
        raise MaskFileError(message)
    return [
        mask_to_rle(indices == number) if number in used else None
        for number in range(1, num_objects + 1)
    ]


def _indices(path: Path) -> tuple[NDArray[np.int64], int | None]:
    """Pixels as indices, shape (H, W), and the one that means no object for certain."""
    try:
        with Image.open(path) as picture:
            if picture.mode in ("P", "L", "1"):
                return np.asarray(picture, np.int64), VOID
            if picture.mode.startswith("I"):
                return np.asarray(picture, np.int64), None
            pixels = np.asarray(picture.convert("RGB"), np.int64)
    except UNREADABLE as error:
        message = f"cannot be read as an image: {error}."
        raise MaskFileError(message) from error
    packed = pixels @ np.array([1 << 16, 1 << 8, 1])
    colors = np.array([r << 16 | g << 8 | b for r, g, b in map(voc_color, range(256))])
    order = np.argsort(colors)
    found = order[np.searchsorted(colors[order], packed).clip(0, 255)]
    wrong = colors[found] != packed
    if wrong.any():
        red, green, blue = pixels[wrong][0]
        message = f"has the colour ({red}, {green}, {blue}), which VOC's palette lacks."
        raise MaskFileError(message)
    return found, VOID


def write_voc_masks(labeled: Json, _annotations: Path, _images: Path, target: Path) -> None:
    """Labels as VOC's SegmentationObject and SegmentationClass, one PNG each per image.

    A pixel of SegmentationObject holds the number of its object in the XML file, where a skipped
    one keeps its number; where masks overlap, the smaller one lies on top. Index 0 is no object.
    """
    by_image: dict[int, list[Json]] = {image["id"]: [] for image in labeled["images"]}
    for entry in labeled["annotations"]:
        by_image[entry["image_id"]].append(entry)
    for image in labeled["images"]:
        paint_image(image, by_image[image["id"]], Path(image["origin"]).with_suffix(".png"), target)


def paint_image(
    image: Mapping[str, Any], entries: list[Json], name: Path, target: Path
) -> NDArray[np.uint16]:
    """Write both PNGs of an image.

    Args:
        image: Its entry, for the size.
        entries: Annotations with masks; `object` is their number in the image, from 1.
        name: Of the files in their folders.
        target: Holds those folders.

    Returns:
        The numbers of the objects, shape (H, W), 0 outside.
    """
    objects, classes = _paint(image, entries)
    for folder, pixels in ((OBJECTS, objects), (CLASSES, classes)):
        with atomic_path(target / folder / name) as temporary:
            _write_indexed(pixels, temporary)
    return objects


def _paint(
    image: Mapping[str, Any], entries: list[Json]
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    height, width = image["height"], image["width"]
    objects = np.full((height, width), OUTSIDE, dtype=np.uint16)
    classes = objects.copy()
    for entry in sorted(entries, key=lambda entry: -float(entry["area"])):
        mask = segmentation_to_mask(entry["segmentation"], height, width) > 0
        objects[mask] = entry["object"]
        classes[mask] = entry["category_id"]
    return objects, classes


def _write_indexed(pixels: NDArray[np.uint16], path: Path) -> None:
    if pixels.max(initial=0) > MOST_INDICES:
        Image.fromarray(pixels).save(path, format="PNG")
        return
    picture = Image.fromarray(pixels.astype(np.uint8), mode="P")
    picture.putpalette([value for index in range(256) for value in voc_color(index)])
    picture.save(path, format="PNG")


def voc_color(index: int) -> tuple[int, int, int]:
    """VOC's palette: the bits of the index, three at a time, from the highest bit down."""
    red = green = blue = 0
    for shift in range(7, -1, -1):
        red |= (index & 1) << shift
        green |= (index >> 1 & 1) << shift
        blue |= (index >> 2 & 1) << shift
        index >>= 3
    return red, green, blue
