"""What an image file says of itself before any pixel is decoded: kind, size, orientation, depth."""

import contextlib
import os
import stat
import struct
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

# Pillow warns of photos that DOTA and panoramas have, and refuses those of twice that size as
# attacks. Sizes are judged by `max_image_pixels` here, before anything is decoded.
Image.MAX_IMAGE_PIXELS = None
# A tag that cannot be read turns nothing; the user need not know.
warnings.filterwarnings("ignore", message="(?s)Corrupt EXIF", category=UserWarning)

ORIENTATION_TAG = 0x0112
BITS_TAG = 0x0102
EXTRA_TAG, UNASSOCIATED = 0x0152, 2
"""What a TIFF says of its fourth channel: an alpha that its colors are not multiplied by."""
UPRIGHT = 1
SEVERAL_FRAMES = ("TIFF", "GIF", "WEBP", "PNG")
TURNED = (5, 6, 7, 8)
"""Orientations that exchange width and height."""
MAX_IMAGE_PIXELS = 1_000_000_000
"""Of one image, unless a setting says otherwise: 3 GB once decoded."""
LARGE_PIXELS = 50_000_000
"""Larger images are decoded one at a time: eight of a gigabyte each would not fit."""

UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error)
"""What Pillow raises on damaged files, depending on the format."""

NO_IMAGES = (
    (4, b"ftyphei", "this is HEIC; convert it to JPEG"),
    (4, b"ftypmif1", "this is HEIF; convert it to JPEG"),
    (4, b"ftyp", "this is a video; cut images from it"),
    (0, b"\xff\x0a", "this is JPEG XL; convert it to PNG"),
    (0, b"\0\0\0\x0cJXL ", "this is JPEG XL; convert it to PNG"),
    (0, b"\x93NUMPY", "this is an array of numpy; write it as PNG"),
    (128, b"DICM", "this is DICOM; convert it to PNG"),
)
NO_IMAGE_TEXTS = (
    (b"version https://git-lfs", "this is a pointer of git LFS; run `git lfs pull` where it lies"),
    (b"<!doctype html", "this is a web page; download the file itself"),
    (b"<html", "this is a web page; download the file itself"),
    (b"<svg", "this is SVG; convert it to PNG"),
    (b"<?xml", "this is XML; download the file itself, or convert SVG to PNG"),
    (b"%pdf", "this is a PDF document; convert it to PNG"),
)
"""How files begin that are called images and are none: place, bytes, what they are."""

_large = threading.Lock()

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The header of one image file.

    Attributes:
        size: Width and height of the stored pixels.
        orientation: Of EXIF, 1 to 8: how a viewer turns the stored pixels to show them.
        deep: It may hold more than 8 bits per channel.
        frames: Whether more than one image is in the file, of which the first is taken.
        fading: A TIFF whose colors OpenCV multiplies by its alpha.
    """

    format: str
    mode: str
    size: Size
    orientation: int
    deep: bool
    frames: bool = False
    fading: bool = False

    @property
    def shown_size(self) -> Size:
        """Width and height as a viewer shows it."""
        return self.size[::-1] if self.orientation in TURNED else self.size

    def turn_to_decode(self) -> contextlib.AbstractContextManager[object]:
        """Held while the image is decoded: large ones wait for each other."""
        large = self.size[0] * self.size[1] > LARGE_PIXELS
        return _large if large else contextlib.nullcontext()


class NotAFileError(OSError):
    """A pipe, a device or a socket, which must be neither read nor waited for."""


_seen: dict[str, tuple[tuple[int, int, int], ImageHeader]] = {}
"""Headers of this process by path: the plan of the images and their check want the same ones."""


def read_header(path: Path) -> ImageHeader:
    """Read a header, once per process while the file stays as it is.

    Raises:
        NotAFileError: It is a pipe, a device or a socket.
        OSError, ValueError, SyntaxError: It is absent, or no image that Pillow knows.
    """
    status = path.stat()
    require_file(path, status.st_mode)
    state = (status.st_size, status.st_mtime_ns, status.st_ino)
    known = _seen.get(str(path))
    if known is not None and known[0] == state:
        return known[1]
    with Image.open(path) as image:
        header = _header_of(image)
    _seen[str(path)] = state, header
    return header


def require_file(path: Path, mode: int | None = None) -> None:
    """Refuse what is neither a file nor a folder.

    Args:
        path: What is about to be read.
        mode: Its `st_mode`, where that is known.

    Raises:
        NotAFileError: It is a pipe, a device or a socket.
        OSError: It is absent.
    """
    mode = os.stat(path).st_mode if mode is None else mode  # noqa: PTH116 - follows links, too
    for is_kind, name in (
        (stat.S_ISFIFO, "a pipe (FIFO)"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    ):
        if is_kind(mode):
            message = f"is {name}, not a file. Give a file, or copy its content into one."
            raise NotAFileError(message)


def other_kind(path: Path) -> str | None:
    """What a file is that is no image, and what to do with it; None where that is not known."""
    try:
        if path.is_dir():
            return "a folder; give the image"
        with path.open("rb") as stream:
            start = stream.read(256)
    except (OSError, ValueError):  # of names that no file can have
        return None
    if not start:
        return "the file is empty; copy it again"
    text = start.lstrip().lower()
    kinds = (kind for place, sign, kind in NO_IMAGES if start[place:].startswith(sign))
    texts = (kind for sign, kind in NO_IMAGE_TEXTS if text.startswith(sign))
    return next(kinds, None) or next(texts, None)


def check_pixels(path: Path, header: ImageHeader) -> None:
    """Read all pixels of a file; raises what Pillow does where some are missing.

    By Pillow, because OpenCV fills the rest of a truncated JPEG with grey and reports success.
    At draft scale all data is still read, in less time.
    """
    with header.turn_to_decode(), Image.open(path) as image:
        image.draft(None, (1, 1))
        image.load()


def _header_of(image: Image.Image) -> ImageHeader:
    orientation = _orientation(image)
    size = image.size
    if image.format == "TIFF" and orientation in TURNED:
        size = size[::-1]  # Pillow has turned it already
    return ImageHeader(
        format=str(image.format),
        mode=image.mode,
        size=size,
        orientation=orientation,
        deep=_is_deep(image),
        frames=image.format in SEVERAL_FRAMES and _has_second_frame(image),
        fading=_is_fading(image),
    )


def _is_fading(image: Image.Image) -> bool:
    if image.format != "TIFF" or image.mode != "RGBA" or _is_deep(image):
        return False
    tags: Any = getattr(image, "tag_v2", {})
    extra = tags.get(EXTRA_TAG, 0)
    return UNASSOCIATED in (extra if isinstance(extra, tuple) else (extra,))


def _has_second_frame(image: Image.Image) -> bool:
    try:
        image.seek(1)
    except UNREADABLE:
        return False
    return True


def _orientation(image: Image.Image) -> int:
    # Asked for only where there is a tag: parsing costs more than the rest of a header.
    if image.format != "TIFF" and not {"exif", "xmp", "Raw profile type exif"} & image.info.keys():
        return UPRIGHT
    try:
        found = image.getexif().get(ORIENTATION_TAG, UPRIGHT)
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, UserWarning):
        return UPRIGHT  # a tag that nobody can read turns nothing, in a viewer either
    return found if type(found) is int and UPRIGHT <= found <= 8 else UPRIGHT


def _is_deep(image: Image.Image) -> bool:
    if image.format == "JPEG":
        return False
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        bits = tags.get(BITS_TAG, 8)
        return max(bits if isinstance(bits, tuple) else (bits,)) > 8
    if image.format == "JPEG2000":
        return True  # Pillow does not tell; OpenCV does once it has decoded
    if image.format == "PPM":
        return image.mode == "I" or _mentions(image, 256)
    return image.mode.startswith("I;16") or "16" in _raw_mode(image)


def _raw_mode(image: Image.Image) -> str:
    tiles = getattr(image, "tile", None) or [("", (), 0, "")]
    return str(tiles[0][3])


def _mentions(image: Image.Image, least: int) -> bool:
    """Whether a PPM says a largest value of at least `least`."""
    arguments = (getattr(image, "tile", None) or [("", (), 0, "")])[0][3]
    largest = arguments[1] if isinstance(arguments, tuple) and len(arguments) > 1 else 0
    return type(largest) is int and largest >= least
