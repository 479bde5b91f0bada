"""Formats of one text file per photo, a row per object: which file is of which photo."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mal_core.data.images.frames import Orientation
from mal_core.data.images.headers import UNREADABLE, NotAFileError, read_header
from mal_core.data.text import TextError, read_text
from mal_core.formats.class_names import NAME_FILES
from mal_core.formats.folder_files import files_below

Json = dict[str, Any]
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
ReadRow = Callable[[str, tuple[int, int]], Json | str | None]
"""A line and the (width, height) of its photo, px -> what an annotation says beside its id and
image; what is wrong with the line; or None, where it is no object."""


def rows_to_coco(
    images: Path,
    annotations: Path,
    orientation: Orientation,
    read: ReadRow,
    problems: list[str],
) -> Json:
    """All photos of a folder, and the objects of their text files.

    Args:
        images: Folder of the photos.
        annotations: Folder of the text files, named as the photos are.
        orientation: "stored" takes sizes as they are stored, else as viewers show the photos.
        read: Reads a line.
        problems: Receives what is wrong.

    Returns:
        COCO's `images` and `annotations`.
    """
    content: Json = {"images": [], "annotations": []}
    pictures = pictures_below(images)
    if not pictures:
        problems.append(f"no images in {images}. Correct data.*.images.")
    label_files = _label_files(annotations, problems)
    for number, picture in enumerate(pictures, start=1):
        name = picture.relative_to(images)
        size = _size(picture, orientation, problems)
        label_file = label_files.pop(_stem(name), None)
        if size is None:
            continue
        content["images"].append(
            {"id": number, "file_name": str(name), "width": size[0], "height": size[1]}
        )
        if label_file is not None:
            _add_objects(content, label_file, (number, size), read, problems)
    orphans = [path.relative_to(annotations) for path in label_files.values()]
    problems += [f"{name} has no image in {images}." for name in sorted(orphans)]
    return content


def pictures_below(images: Path) -> list[Path]:
    """The photos of a folder, in subfolders too."""
    return sorted(path for suffix in IMAGE_SUFFIXES for path in files_below(images, suffix))


def _stem(name: Path) -> str:
    return str(name.with_suffix(""))


def _label_files(annotations: Path, problems: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in files_below(annotations, ".txt"):
        if path.name in NAME_FILES:
            continue
        first = found.setdefault(_stem(path.relative_to(annotations)), path)
        if first != path:
            problems.append(f"{path.name} and {first.name} are of one image. Keep one.")
    return found


def _size(picture: Path, orientation: Orientation, problems: list[str]) -> tuple[int, int] | None:
    try:
        header = read_header(picture)
    except NotAFileError as error:
        problems.append(f"{picture.name}: {error}")
        return None
    except UNREADABLE as error:
        problems.append(f"{picture.name}: cannot be read as an image: {error}.")
        return None
    return header.size if orientation == "stored" else header.shown_size


def _add_objects(
    content: Json,
    path: Path,
    image: tuple[int, tuple[int, int]],
    read: ReadRow,
    problems: list[str],
) -> None:
    try:
        lines = read_text(path).splitlines()
    except (TextError, FileNotFoundError) as error:
        problems.append(f"{path.name}: {error}")
        return
    image_id, size = image
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        found = read(line, size)
        if isinstance(found, str):
            problems.append(f"{where}: {found}")
        elif found is not None:
            place = {"id": len(content["annotations"]) + 1, "image_id": image_id}
            content["annotations"].append({**place, **found, "origin": where})
