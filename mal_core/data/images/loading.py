"""Loading photos, and what can be wrong with an image file.

Images are decoded by OpenCV with the flags mmdet's recipes use, so both phases see the
same pixels: grayscale is repeated over three channels, palettes are expanded, alpha is
dropped, 16 bits are cut to 8, CMYK is converted, the first frame of an animation is
taken. EXIF orientation is ignored here: where boxes refer to the photo as viewers show it, or
16 bits hold a smaller range, `image_plan` has made an ordinary file of it before.
What OpenCV cannot decode that way (32-bit or Lab TIFF, TGA, ICO, TIFFs packed with LZMA or
Zstandard, CMYK in JPEG 2000) is refused by the check.
"""

import itertools
import math
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mal_core.data.images.headers import (
    TURNED,
    UNREADABLE,
    UPRIGHT,
    ImageHeader,
    NotAFileError,
    check_pixels,
    other_kind,
    read_header,
)
from mal_core.data.images.names import ImageIndex, link_to_nothing
from mal_core.data.images.pooled import in_order
from mal_core.data.images.view import source_of
from mal_core.errors import ArgumentError, DatasetError
from mal_core.processes.files import READ_EVENT, Place, is_file, path_of
from mal_core.processes.progress import Progress
from mal_core.types import ImageRecord

# Its own lines would stand before our sentence on the same file. OpenCV 5 moved the function.
_opencv_log = cv2 if hasattr(cv2, "setLogLevel") else getattr(cv2.utils, "logging")  # noqa: B009
_opencv_log.setLogLevel(0)
READ_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
REDUCED_FLAGS = {
    1: READ_FLAGS,
    2: cv2.IMREAD_REDUCED_COLOR_2 | cv2.IMREAD_IGNORE_ORIENTATION,
    4: cv2.IMREAD_REDUCED_COLOR_4 | cv2.IMREAD_IGNORE_ORIENTATION,
    8: cv2.IMREAD_REDUCED_COLOR_8 | cv2.IMREAD_IGNORE_ORIENTATION,
}
JPEG_ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif")
REFUSED_TIFF_MODES = {
    "F": "32-bit float pixels",
    "I": "32-bit integer pixels",
    "LAB": "Lab colours",
}
ALIKE = frozenset(["JPEG", "MPO", "PNG", "WEBP", "BMP"])
"""Formats that OpenCV and Pillow decode alike; of others, Pillow knows more forms."""
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".zst")
IMAGES_WORTH_A_BAR = 1000
HINTED = 50
"""Missing images that are told the closest existing name; the message shows no more anyway."""


def decoded_smaller(path: Path) -> bool:
    """Whether the decoder of a file can leave out detail, as JPEG's blocks let it."""
    return path.suffix.lower() in JPEG_ENDINGS


def load_image(path: Place, reduction: int = 1) -> NDArray[np.uint8]:
    """Decode a photo as stored, without EXIF rotation.

    Args:
        path: The file.
        reduction: 1, 2, 4 or 8: decode to so many times fewer rows and columns. A large JPEG
            takes a half to a quarter of the time then.

    Returns:
        RGB, shape (H, W, 3); sides are divided by `reduction` and rounded.

    Raises:
        DatasetError: The file is absent or OpenCV cannot decode it.
        ArgumentError: `path` is no path, or there is no such reduction.
    """
    if reduction not in tuple(REDUCED_FLAGS):
        message = f"reduction={reduction!r}; wanted one of {', '.join(map(str, REDUCED_FLAGS))}."
        raise ArgumentError(message)
    sys.audit(READ_EVENT, str(path))
    pixels = cv2.imread(str(path_of(path, "path")), REDUCED_FLAGS[reduction])
    if pixels is None:
        raise DatasetError(Path(path), [f"the image {_why_unread(Path(path))}."])
    # In place: a copy of a large photo would take a second gigabyte.
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels), dtype=np.uint8)


def _why_unread(path: Path) -> str:
    if is_file(path):
        return "cannot be decoded. Replace it"
    return "is a folder. Give a file in it" if os.path.isdir(path) else "does not exist"  # noqa: PTH112 - as is_file


class ImageProblem(NamedTuple):
    """An image that cannot be used, why, and whether there is no such file."""

    record: ImageRecord
    text: str
    missing: bool


def image_problems(
    root: Path, records: Sequence[ImageRecord], *, decode: bool, max_pixels: int | None = None
) -> list[str]:
    """Everything that is wrong with the images of a file, in file order.

    Args:
        root: Folder the file names are relative to.
        records: Images to look at; nothing else in the folder is.
        decode: Decode every image, which finds truncated files; otherwise headers only.
        max_pixels: Refuse larger images; None takes any.
    """
    if root.is_file():
        packed = " (an archive: unpack it)" if root.suffix.lower() in ARCHIVES else ""
        return [
            f"data.*.images={root} is a file{packed}. Give the folder that file names are "
            "relative to."
        ]
    if not root.is_dir():
        seen = link_to_nothing(root) or "does not exist"
        return [f"the images folder {root} {seen}. Correct the path."]
    problems = wrong_images(root, records, decode=decode, max_pixels=max_pixels)
    missing = sum(problem.missing for problem in problems)
    source = source_of(root)
    texts = list(_with_hints(source, problems))
    if missing == len(records) > 1:
        texts.insert(0, f"none of the {missing} images is in {source}. Is it the right folder?")
    return texts


def wrong_images(
    root: Path, records: Sequence[ImageRecord], *, decode: bool, max_pixels: int | None = None
) -> list[ImageProblem]:
    """The images of a file that cannot be used; arguments as for `image_problems`."""
    find = partial(_image_problem, root, decode=decode, max_pixels=max_pixels)
    return [found for found in _with_a_bar(records, find) if found]


def _with_a_bar(
    records: Sequence[ImageRecord], find: "partial[ImageProblem | None]"
) -> Iterator[ImageProblem | None]:
    found = in_order(find, records)
    if len(records) < IMAGES_WORTH_A_BAR:
        yield from found
        return
    with Progress("check images", len(records)) as progress:
        for done, problem in enumerate(found, 1):
            progress.update(done)
            yield problem


def _with_hints(source: Path, problems: Sequence[ImageProblem]) -> Iterator[str]:
    """The messages; those of missing images say what is there instead."""
    index: ImageIndex | None = None
    hinted = itertools.count()
    for record, text, missing in problems:
        hint = ""
        if missing and next(hinted) < HINTED:
            index = index or ImageIndex(source)
            hint = _hint(index, record.file_name)
        place = f"{record.label}: {str(source / record.file_name)!r}"
        yield (
            f"{place} is missing{hint}. Add the file or drop the image."
            if missing
            else (f"{place} {text}")
        )


def _hint(index: ImageIndex, name: str) -> str:
    fitting = index.fitting(name)
    if len(fitting) > 1:
        return f"; {len(fitting)} files could be meant, such as {fitting[0]!r} and {fitting[1]!r}"
    closest = fitting[0] if fitting else index.closest(name)
    return "" if closest is None else f"; the closest existing file is {closest!r}"


def _image_problem(
    root: Path, record: ImageRecord, *, decode: bool, max_pixels: int | None
) -> ImageProblem | None:
    path, missing = root / record.file_name, False
    problem: str | None = ""
    try:
        problem = _content_problem(path, record, decode=decode, max_pixels=max_pixels)
    except FileNotFoundError:
        link = link_to_nothing(source_of(root) / record.file_name)
        missing = link is None
        problem = "" if link is None else f"{link}. Mend the link, or drop the image."
    except NotAFileError as error:
        problem = str(error)
    except PermissionError:
        problem = "may not be read (permission denied). Change its permissions."
    except MemoryError:
        problem = "needs more memory to be decoded than there is: cut it into tiles."
    except UNREADABLE as error:
        kind = other_kind(path)
        problem = (
            f"cannot be read as an image ({error}). Replace the file or drop the image."
            if kind is None
            else f"is no image: {kind}."
        )
    return None if problem is None else ImageProblem(record, problem, missing)


def _content_problem(
    path: Path, record: ImageRecord, *, decode: bool, max_pixels: int | None
) -> str | None:
    """What is wrong with a file that is there; raises what Pillow does where it is damaged."""
    header = read_header(path)
    too_large = max_pixels is not None and math.prod(header.size) > max_pixels
    problem = _header_problem(header, record, max_pixels)
    # One that was to be turned and was not is damaged: its size is not what is wrong.
    turned = header.shown_size == record.size != header.size and not too_large
    if (problem is None and decode) or turned:
        check_pixels(path, header)
    if problem is None and not cv2.haveImageReader(str(path)):
        return f"is a {header.format} file, which OpenCV cannot read. Convert it to PNG."
    if problem is None and decode and header.format not in ALIKE:
        return _decoding_problem(path, header)
    return problem


def _decoding_problem(path: Path, header: ImageHeader) -> str | None:
    """Why what Pillow has decoded is no picture for OpenCV, if it is none."""
    with header.turn_to_decode():
        pixels = cv2.imread(str(path), READ_FLAGS)
    if pixels is not None and pixels.shape[1::-1] == header.size:
        return None
    kind = f"a {header.format} file in a form"
    return f"is {kind} that OpenCV cannot decode ({header.mode} pixels). Convert it to 8-bit PNG."


def _header_problem(header: ImageHeader, record: ImageRecord, limit: int | None) -> str | None:
    stored, wanted = header.size, (record.width, record.height)
    if limit is not None and stored[0] * stored[1] > limit:
        return (
            f"is {stored[0]} x {stored[1]} px = {stored[0] * stored[1]:,} pixels, more than the "
            f"{limit:,} that data.max_image_pixels allows: cut it into tiles, or raise the limit."
        )
    if stored != wanted:
        problem = (
            f"is {stored[0]} x {stored[1]} px, but the file says {wanted[0]} x {wanted[1]} "
            "(width x height)."
        )
        if header.orientation in TURNED and header.shown_size == wanted:
            return (
                f"{problem} It would fit after the rotation its EXIF orientation asks for, which "
                "is not applied here: give the stored pixels and no tag, or correct size and boxes."
            )
        return f"{problem} Correct the size and the boxes, or replace the image."
    return _tiff_problem(header) if header.format == "TIFF" else None


def _tiff_problem(header: ImageHeader) -> str | None:
    if header.mode in REFUSED_TIFF_MODES:
        kind = REFUSED_TIFF_MODES[header.mode]
        return f"has {kind}, which OpenCV cannot read as colours. Convert it to 8-bit RGB."
    if header.orientation != UPRIGHT:
        return (
            "is a TIFF with an orientation tag, which Pillow obeys and OpenCV fails on. "
            "Save it without the tag."
        )
    return None
