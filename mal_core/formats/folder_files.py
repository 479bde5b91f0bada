"""Which files of a folder of annotations are read, and how many are not."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from mal_core.data.images.names import SUFFIXES, link_to_nothing
from mal_core.data.images.walking import entries_below, files_below, is_hidden

IMAGE_SUFFIXES = (*sorted(SUFFIXES), ".avif")
OTHER_PHOTOS = tuple(
    f".{kind}"
    for kind in (
        *("heic", "heif", "jxl", "dng", "cr2", "cr3", "nef", "arw", "orf", "rw2", "raf"),
        *("psd", "tga", "exr", "hdr", "dcm", "svg"),
    )
)
"""Photos that no reader here takes."""
LIST_NAME = re.compile("(auto|train|val|test|all|image|list)[^/]*[.]txt", re.IGNORECASE)
HEAD_BYTES = 4096


def label_texts(folder: Path, is_known: Callable[[Path], bool] = lambda _: False) -> list[Path]:
    """Text files below a folder but those that list photos, as darknet has them.

    Args:
        folder: Of annotations.
        is_known: Whether a file is no such list, or is looked at later: it is not opened here.
    """
    return [path for path in files_below(folder, ".txt") if is_known(path) or not _is_list(path)]


def _is_list(path: Path) -> bool:
    if not may_list_photos(path) or not path.is_file():
        return False
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    lines = head.decode("utf-8", "replace").splitlines()
    return lists_photos(lines if len(head) < HEAD_BYTES else lines[:-1])


def may_list_photos(path: Path) -> bool:
    """Whether a text file is called as lists of photos are."""
    return LIST_NAME.fullmatch(path.name) is not None


def lists_photos(lines: Iterable[str]) -> bool:
    """Whether the lines of a text are names of photos, all of them."""
    names = [line.strip().lower() for line in lines if line.strip()]
    return bool(names) and all(name.endswith(IMAGE_SUFFIXES) for name in names)


def missing_folder(path: Path) -> str:
    """What is wrong with a path that is no folder, in words."""
    return "is a file, no folder" if path.exists() else link_to_nothing(path) or "does not exist"


def other_photos_note(images: Path) -> list[str]:
    """One line that counts the photos of a folder that nobody reads; none where there are none."""
    found = files_below(images, *OTHER_PHOTOS)
    if not found:
        return []
    kinds = Counter(path.suffix.lower() for path in found)
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return [
        f"{len(found)} photos of {images}, such as {str(found[0].relative_to(images))!r}, are of "
        f"kinds that are not read ({listed}): convert them to PNG or JPEG."
    ]


def unread_note(folder: Path, read: Iterable[Path], photos: Path) -> list[str]:
    """One line that counts the files of a folder that are not read; none where there are none.

    Args:
        folder: Of annotations.
        read: Its files that are read.
        photos: Folder of the photos; those that lie in both are no annotations.
    """
    known = set(read)
    left = [
        path
        for name, is_file in entries_below(folder)
        if (path := folder / name) not in known
        and is_file
        and not (path.suffix.lower() in IMAGE_SUFFIXES and path.is_relative_to(photos))
    ]
    if not left:
        return []
    kinds = Counter(
        "hidden" if is_hidden(str(path.relative_to(folder))) else path.suffix or "without suffix"
        for path in left
    )
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    first = str(min(left).relative_to(folder))
    return [f"{len(left)} files of {folder}, such as {first!r}, are not read: {listed}."]
