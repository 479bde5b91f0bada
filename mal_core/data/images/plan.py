"""What must happen to the images of a file before both phases can read them as they are.

Everything after the plan reads ordinary files: upright pixels in the frame that the boxes are
in, 8 bits, under the very names of the annotation file. Most images are that already and are
not touched.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mal_core.data.images.frames import (
    Orientation,
    frame_of,
    is_turned,
    preferred,
    turned,
    turned_back,
)
from mal_core.data.images.headers import UNREADABLE, ImageHeader, check_pixels, read_header
from mal_core.data.images.loading import READ_FLAGS
from mal_core.data.images.names import Found, ImageIndex
from mal_core.data.images.pooled import in_order
from mal_core.data.images.view import build_view
from mal_core.processes.files import atomic_path
from mal_core.processes.progress import Progress
from mal_core.types import ImageRecord

DEPTH_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
PARTIAL_BITS = (8, 10, 12, 14)
"""Ranges that scanners and microscopes put into 16 bits."""
JPEG_OPTIONS = (
    cv2.IMWRITE_JPEG_QUALITY,
    95,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What makes an ordinary file of one image.

    Attributes:
        name: In the annotation file.
        file: The image, relative to the folder; another name where that differs.
        turn: EXIF orientation to apply to the stored pixels; 1: none.
        bits: Range of the values in a 16-bit file, to be scaled to 8 bits; None: leave them.
        pillow: A TIFF with an orientation, which OpenCV cannot read, or with an alpha, by which
            OpenCV would multiply the colors.
    """

    name: str
    file: str
    turn: int = 1
    bits: int | None = None
    pillow: bool = False

    @property
    def needs_pixels(self) -> bool:
        """Whether a link to the user's file is not enough."""
        return self.turn != 1 or self.bits is not None or self.pillow


@dataclass(frozen=True, kw_only=True, slots=True)
class ImagePlan:
    """All changes, in the order of the file, and what the user is told of them."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    listed: ImageRecord
    file: str
    header: ImageHeader
    bits: int | None
    fades: bool


def plan_images(
    root: Path,
    listed: Sequence[ImageRecord],
    *,
    orientation: Orientation,
    max_pixels: int,
    sizes_stated: bool = True,
) -> ImagePlan:
    """Look at the header of every image and decide what it needs.

    What is wrong with an image is left to the check, which says it.

    Args:
        root: Folder that names are relative to.
        listed: The images of the annotation file.
        orientation: Frame of the boxes where sizes do not tell.
        max_pixels: Larger images are not decoded.
        sizes_stated: The sizes are the annotation file's, not read from the pixels.
    """
    once = list({image.file_name: image for image in listed}.values())
    looks = list(in_order(lambda image: _look(root, image, image.file_name, max_pixels), once))
    missing = [image for image, look in zip(once, looks, strict=True) if look is None]
    found = _files_of(root, once, missing)
    elsewhere = {
        name: _look(root, image, found[name].file, max_pixels)
        for image in missing
        if (name := image.file_name) in found
    }
    seen = [
        look
        for image, first in zip(once, looks, strict=True)
        if isinstance(look := elsewhere.get(image.file_name, first), _Look)
    ]
    frames = _frames(seen, orientation, sizes_stated)
    changes = [_change(look, frames.shown.get(look.listed.file_name)) for look in seen]
    notes = [*frames.notes, *_depth_notes(changes), *_name_notes(found), *_frame_notes(seen)]
    return ImagePlan(changes=tuple(c for c in changes if c is not None), notes=tuple(notes))


def _files_of(
    root: Path, listed: Iterable[ImageRecord], missing: Iterable[ImageRecord]
) -> dict[str, Found]:
    """Files of the names that no file has exactly; each file is taken once."""
    names = [image.file_name for image in missing if _can_be_linked(image.file_name)]
    if not names or not root.is_dir():
        return {}
    index = ImageIndex(root)
    found = {name: file for name in names if (file := index.find(name)) is not None}
    taken = Counter(file.file for file in found.values())
    taken.update(image.file_name for image in listed if image.file_name not in found)
    return {name: file for name, file in found.items() if taken[file.file] == 1}


def _can_be_linked(name: str) -> bool:
    parts = name.split("/")
    return (
        not name.startswith("/")
        and ".." not in name.replace("\\", "/").split("/")
        and all(len(part.encode(errors="surrogatepass")) <= 255 for part in parts)
        and "\0" not in name
        and name not in ("", ".")
    )


def _look(
    root: Path, listed: ImageRecord, file: str, max_pixels: int
) -> _Look | Literal["unreadable"] | None:
    """What a file says of itself; None where there is none of that name."""
    try:
        header, bits, fades = read_header(root / file), None, False
        if header.size[0] * header.size[1] <= max_pixels and (header.deep or header.fading):
            with header.turn_to_decode():
                bits = _bits(root / file) if header.deep else None
                fades = header.fading and _is_see_through(root / file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UNREADABLE:  # the check of the images says what is wrong with it
        return "unreadable"
    return _Look(listed=listed, file=file, header=header, bits=bits, fades=fades)


def _is_see_through(path: Path) -> bool:
    """Whether any pixel of an RGBA file lets through what is behind it."""
    with Image.open(path) as image:
        return image.getchannel("A").getextrema() != (255, 255)


def _bits(path: Path) -> int | None:
    """The range of a 16-bit file's values, where they do not use all of it."""
    pixels = cv2.imread(str(path), DEPTH_FLAGS)
    if pixels is None or pixels.dtype != np.uint16:
        return None
    largest = int(pixels.max())
    return next((bits for bits in PARTIAL_BITS if largest < 1 << bits), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Frames:
    shown: Mapping[str, bool]
    notes: Sequence[str]


def _frames(looks: Sequence[_Look], setting: Orientation, sizes_stated: bool) -> _Frames:
    """Which of the images with an orientation are wanted as shown, and notes that say so."""
    turned_ones = [look for look in looks if is_turned(look.header)]
    verdict_of = {
        look.listed.file_name: frame_of(look.header, look.listed.size) for look in turned_ones
    }
    default = preferred(setting, verdict_of.values())
    shown = {
        name: verdict == "shown" or (verdict == "either" and default == "shown")
        for name, verdict in verdict_of.items()
        if verdict != "neither"
    }
    told = verdict_of if sizes_stated else dict.fromkeys(shown, "either")
    names: dict[str, list[str]] = defaultdict(list)
    for name, verdict in told.items():
        names[verdict].append(name)
    notes = []
    if sure := [*names["shown"], *names["stored"]]:
        notes.append(
            f"{len(sure)} images, such as {sure[0]!r}, have an EXIF orientation: by their sizes, "
            f"the boxes of {len(names['shown'])} were drawn on the photo as viewers show it, of "
            f"{len(names['stored'])} on the stored pixels"
        )
    if names["either"] and setting == "auto":
        notes.append(_ambiguous_note(names["either"], default, sizes_stated))
    return _Frames(shown=shown, notes=notes)


def _ambiguous_note(names: Sequence[str], frame: str, sizes_stated: bool) -> str:
    why = "whose sizes do not tell" if sizes_stated else "and the format states no sizes to tell"
    places = {"shown": "the photo as viewers show it", "stored": "the stored pixels"}
    other = "stored" if frame == "shown" else "shown"
    return (
        f"{len(names)} images, such as {names[0]!r}, have an EXIF orientation {why} which pixels "
        f"the boxes were drawn on: taken as drawn on {places[frame]}; data.orientation={other} "
        f"takes {places[other]}"
    )


def _change(look: _Look, shown: bool | None) -> Change | None:
    header, name = look.header, look.listed.file_name
    turned_tiff = header.format == "TIFF" and is_turned(header)
    pillow = turned_tiff and not header.deep
    bits = None if turned_tiff else look.bits
    turn = header.orientation if shown and (pillow or header.format != "TIFF") else 1
    by_pillow = (pillow and shown is not None) or look.fades
    change = Change(name=name, file=look.file, turn=turn, bits=bits, pillow=by_pillow)
    return change if change.needs_pixels or look.file != name else None


def _depth_notes(changes: Sequence[Change | None]) -> Iterator[str]:
    counts = Counter(
        change.bits for change in changes if change is not None and change.bits is not None
    )
    if counts:
        ranges = ", ".join(f"{count} of {bits} bits" for bits, count in sorted(counts.items()))
        first = next(one.name for one in changes if one is not None and one.bits is not None)
        yield (
            f"{counts.total()} images, such as {first!r}, use only a part of their 16-bit files "
            f"({ranges}): scaled to 8 bits by that range"
        )


def _name_notes(found: Mapping[str, Found]) -> Iterator[str]:
    if found:
        counts = Counter(way for frame in found.values() for way in frame.how)
        ways = ", ".join(f"{count} with {way}" for way, count in counts.most_common())
        name, first = next(iter(found.items()))
        yield (
            f"{len(found)} images were found although the annotations spell their names "
            f"differently ({ways}), such as {name!r} for {first.file!r}"
        )


def _frame_notes(looks: Iterable[_Look]) -> Iterator[str]:
    several = [look.file for look in looks if look.header.frames]
    if several:
        yield (
            f"{len(several)} images have several frames or pages, such as {several[0]!r}: the "
            "first is taken"
        )


def write_all_pixels(root: Path, plan: ImagePlan, folder: Path) -> None:
    """Write every image of a plan that needs new pixels; files are named by their places in it."""
    wanted = [(n, change) for n, change in enumerate(plan.changes) if change.needs_pixels]

    def write(item: tuple[int, Change]) -> None:
        number, change = item
        header = read_header(root / change.file)
        try:
            check_pixels(root / change.file, header)  # OpenCV fills what is missing with grey
        except (*UNREADABLE, MemoryError):
            return
        with header.turn_to_decode():
            write_pixels(root, change, folder / str(number))

    if not wanted:
        return
    with Progress("turn and scale images", len(wanted)) as progress:
        for done, _ in enumerate(in_order(write, wanted), start=1):
            progress.update(done)


def write_pixels(root: Path, change: Change, target: Path) -> None:
    """Write one image as an ordinary file: upright, 8 bits, no orientation tag.

    A JPEG stays one, of high quality: photos of phones would take ten times the room otherwise.
    One that cannot be decoded is left out; the check says what is wrong with it.
    """
    source = root / change.file
    try:
        pixels = _turned_tiff(source, change) if change.pillow else _turned_image(source, change)
    except (*UNREADABLE, cv2.error):
        return
    is_jpeg = read_header(source).format == "JPEG"
    kind, options = (".jpg", JPEG_OPTIONS) if is_jpeg else (".png", ())
    _, encoded = cv2.imencode(kind, pixels, list(options))
    with atomic_path(target) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _turned_image(source: Path, change: Change) -> NDArray[np.uint8]:
    if change.bits is None:
        pixels = cv2.imread(str(source), READ_FLAGS)
    else:
        deep = cv2.imread(str(source), DEPTH_FLAGS)
        pixels = None if deep is None else (deep >> (change.bits - 8)).astype(np.uint8)
    if pixels is None:
        message = f"{source} cannot be decoded"
        raise OSError(message)
    return turned(np.asarray(pixels, dtype=np.uint8), change.turn)


def _turned_tiff(source: Path, change: Change) -> NDArray[np.uint8]:
    """BGR pixels of a TIFF that Pillow turns while it reads."""
    # From a stream: unpacked gray ones are mapped into memory by their names, and not turned.
    with source.open("rb") as stream, Image.open(stream) as image:
        shown = np.asarray(image.convert("RGB"), dtype=np.uint8)[..., ::-1]
    stored = turned_back(shown, read_header(source).orientation)
    return turned(stored, change.turn)


def show_plan(
    view: Path, root: Path, plan: ImagePlan, listed: Iterable[ImageRecord], pixels: Path
) -> None:
    """Make the links of a view by a plan.

    Args:
        view: The folder; made where it is absent.
        root: The user's folder.
        plan: Says which images are not ordinary.
        listed: All images of the annotation file.
        pixels: Folder with those that were written anew, by their number in the plan.
    """
    replaced = {
        change.name: made if (made := pixels / str(number)).exists() else root / change.file
        for number, change in enumerate(plan.changes)
    }
    build_view(view, root, [image.file_name for image in listed], replaced)
