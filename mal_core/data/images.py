"""Loading photos, and what can be wrong with an image file.

Images are decoded by OpenCV with the flags mmdet's recipes use, so both phases see the
same pixels: grayscale is repeated over three channels, palettes are expanded, alpha is
dropped, 16 bits are cut to 8, CMYK is converted, the first frame of an animation is
taken. EXIF orientation is ignored everywhere: annotations refer to stored pixels.
What OpenCV cannot decode that way (32-bit or Lab TIFF, TGA, ICO) is refused by the check.
"""

import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mal_core.errors import DatasetError
from mal_core.progress import Progress
from mal_core.types import ImageRecord

READ_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
ORIENTATION_TAG = 0x0112
ROTATED_ORIENTATIONS = (5, 6, 7, 8)
REFUSED_TIFF_MODES = {
    "F": "32-bit float pixels",
    "I": "32-bit integer pixels",
    "LAB": "Lab colours",
}
CHECK_THREADS = 8
IMAGES_WORTH_A_BAR = 1000
# What Pillow raises on damaged files, depending on the format.
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    Image.DecompressionBombError,
)


def load_image(path: Path) -> NDArray[np.uint8]:
    """Decode a photo as stored, without EXIF rotation.

    Returns:
        RGB, shape (H, W, 3).

    Raises:
        DatasetError: The file is absent or OpenCV cannot decode it.
    """
    pixels = cv2.imread(str(path), READ_FLAGS)
    if pixels is None:
        seen = "cannot be decoded. Replace the image" if path.is_file() else "does not exist"
        raise DatasetError(path, [f"the image {seen}."])
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def image_problems(root: Path, records: Sequence[ImageRecord], *, decode: bool) -> list[str]:
    """Everything that is wrong with the images of a file, in file order.

    Args:
        root: Folder the file names are relative to.
        records: Images to look at; nothing else in the folder is.
        decode: Decode every image, which finds truncated files; otherwise headers only.
    """
    if not root.is_dir():
        return [f"the images folder {root} does not exist. Correct the path."]
    problems = [problem for problem in _problems_in_order(root, records, decode) if problem]
    missing = sum(problem.endswith(_MISSING) for problem in problems)
    if missing == len(records) > 1:
        problems.insert(0, f"none of the {missing} images is in {root}. Is it the right folder?")
    return problems


def _problems_in_order(
    root: Path, records: Sequence[ImageRecord], decode: bool
) -> Iterator[str | None]:
    find = partial(_image_problem, root, decode=decode)
    with ThreadPoolExecutor(CHECK_THREADS) as pool:
        found = pool.map(find, records)
        if len(records) < IMAGES_WORTH_A_BAR:
            yield from found
            return
        with Progress("check images", len(records)) as progress:
            for done, problem in enumerate(found, 1):
                progress.update(done)
                yield problem


_MISSING = "is missing. Add the file or drop the image."


def _image_problem(root: Path, record: ImageRecord, *, decode: bool) -> str | None:
    label = f"image {record.image_id}: {str(root / record.file_name)!r}"
    try:
        with Image.open(root / record.file_name) as image:
            problem = _header_problem(image, record)
            if problem is None and decode:
                # Pillow, because OpenCV fills the rest of a truncated JPEG with grey and
                # reports success. At draft scale all data is still read, in less time.
                image.draft(None, (1, 1))
                image.load()
        if problem is None and not cv2.haveImageReader(str(root / record.file_name)):
            problem = f"is a {image.format} file, which OpenCV cannot read. Convert it to PNG."
    except FileNotFoundError:
        problem = _MISSING
    except DECODE_ERRORS as error:
        problem = f"cannot be read as an image ({error}). Replace the file or drop the image."
    return None if problem is None else f"{label} {problem}"


def _header_problem(image: Image.Image, record: ImageRecord) -> str | None:
    stored, wanted = image.size, (record.width, record.height)
    if stored != wanted:
        problem = (
            f"is {stored[0]} x {stored[1]} px, but the file says {wanted[0]} x {wanted[1]} "
            "(width x height)."
        )
        rotated = image.getexif().get(ORIENTATION_TAG) in ROTATED_ORIENTATIONS
        if rotated and stored == (record.height, record.width):
            return (
                f"{problem} It would fit after the rotation its EXIF orientation asks for, but "
                "that tag is ignored everywhere: sizes and boxes must refer to the stored "
                "pixels. Rotate the pixels and drop the tag, or correct size and boxes."
            )
        return f"{problem} Correct the size and the boxes, or replace the image."
    return _tiff_problem(image) if image.format == "TIFF" else None


def _tiff_problem(image: Image.Image) -> str | None:
    if image.mode in REFUSED_TIFF_MODES:
        kind = REFUSED_TIFF_MODES[image.mode]
        return f"has {kind}, which OpenCV cannot read as colours. Convert it to 8-bit RGB."
    if image.getexif().get(ORIENTATION_TAG, 1) != 1:
        return (
            "is a TIFF with an orientation tag, which Pillow obeys and OpenCV fails on. "
            "Save it without the tag."
        )
    return None
