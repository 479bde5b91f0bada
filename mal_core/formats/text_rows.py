"""Formats of one text file per photo, a row per object: which file is of which photo."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from glob import escape
from pathlib import Path
from typing import Any

from mal_core.data.foreign import folder_advice
from mal_core.data.images.frames import Orientation
from mal_core.data.images.headers import UNREADABLE, NotAFileError, read_header
from mal_core.data.images.names import canonical, link_to_nothing, without_upload_prefix
from mal_core.data.images.walking import files_below
from mal_core.data.text import TextError, read_text
from mal_core.formats.class_names import NAME_FILES
from mal_core.formats.folder_files import (
    IMAGE_SUFFIXES,
    label_texts,
    lists_photos,
    may_list_photos,
)

Json = dict[str, Any]
Dropped = list[tuple[str, str]]
"""Places that were left out, and why."""
ReadRow = Callable[[str, tuple[int, int]], Json | str | None]
"""A line and the (width, height) of its photo, px -> what an annotation says beside its id and
image; what is wrong with the line; or None, where it is no object."""


def rows_to_coco(
    images: Path,
    annotations: Path,
    orientation: Orientation,
    read: ReadRow,
    problems: list[str],
    dropped: Dropped | None = None,
) -> Json:
    """All photos of a folder, and the objects of their text files.

    Args:
        images: Folder of the photos.
        annotations: Folder of the text files, named as the photos are.
        orientation: "stored" takes sizes as they are stored, else as viewers show the photos.
        read: Reads a line.
        problems: Receives what is wrong.
        dropped: Receives wrong rows in its place, if they may be left out.

    Returns:
        COCO's `images` and `annotations`.
    """
    content: Json = {"images": [], "annotations": []}
    pictures = pictures_below(images)
    if not pictures:
        problems.append(f"no images in {images}. Correct data.*.images.")
    names = [path.relative_to(images) for path in pictures]
    label_files = _label_files(annotations, {*map(_stem, names)}, problems)
    if not label_files:
        _refuse_none(annotations, problems)
    file_of = _matched(names, label_files, problems)
    for number, picture in enumerate(pictures, start=1):
        name = picture.relative_to(images)
        size = _size(picture, orientation, problems)
        if size is None:
            continue
        content["images"].append(
            {"id": number, "file_name": str(name), "width": size[0], "height": size[1]}
        )
        if name in file_of:
            wrong: Dropped = []
            _add_objects(content, file_of[name], (number, size), read, wrong, problems)
            if dropped is None:
                problems += [f"{where}: {why}" for where, why in wrong]
            else:
                dropped += wrong
    used = set(file_of.values())
    orphans = [path for path in label_files.values() if path not in used]
    below = sorted(path.relative_to(annotations) for path in orphans)
    home = None if used else _home_of(pictures, orphans)
    if home is not None:
        problems.append(
            f"no label file lies where its image does below {images}, but those of {home[0]} have "
            f"names of images of {home[1]}. Give these two folders."
        )
        return content
    problems += _orphan_problems(images, below, alone=not used)
    return content


def _refuse_none(annotations: Path, problems: list[str]) -> None:
    """Say that there is no label file; what else is wrong is so for that reason."""
    advice = folder_advice(annotations, ".txt") if annotations.is_dir() else ""
    if advice:
        problems[:] = [f"no label files (*.txt) in it; {advice}."]
    elif not problems:
        problems.append("no label files (*.txt) in it. Give the folder that has them.")


def _matched(
    names: Sequence[Path], label_files: Mapping[str, Path], problems: list[str]
) -> dict[Path, Path]:
    """The label file of each photo that has one: of its stem, in other spelling if need be."""
    found: dict[Path, Path] = {}
    photo_of: dict[Path, Path] = {}
    for name in names:
        path = label_files.get(_stem(name))
        if path is None:
            continue
        first = photo_of.setdefault(path, name)
        if first != name:
            problems.append(f"{path.name} could be of {first} and of {name}. Keep one of the two.")
        found[name] = path
    left: dict[str, list[Path]] = defaultdict(list)
    for stem, path in label_files.items():
        if path not in photo_of:
            plain = canonical(stem)
            for spelling in {plain, without_upload_prefix(plain)}:
                left[spelling].append(path)
    bare = [name for name in names if name not in found] if left else []
    fitting = {name: [*left[canonical(_stem(name))], *left[canonical(str(name))]] for name in bare}
    meant = Counter(path for paths in fitting.values() for path in paths)
    return found | {
        name: paths[0]
        for name, paths in fitting.items()
        if len(paths) == 1 and meant[paths[0]] == 1
    }


def _home_of(pictures: Sequence[Path], orphans: Sequence[Path]) -> tuple[Path, Path] | None:
    """Folders of label files and of images with the same names, were they given in place."""
    folder_of = {path.stem: path.parent for path in pictures}
    return next(
        ((path.parent, folder_of[path.stem]) for path in orphans if path.stem in folder_of), None
    )


def _orphan_problems(images: Path, orphans: Sequence[Path], *, alone: bool) -> Iterator[str]:
    """Label files without a photo.

    Args:
        images: Folder of the photos.
        orphans: Paths below the folder of annotations.
        alone: No label file has one.
    """
    if alone and len(orphans) > 1:
        yield (
            f"none of the {len(orphans)} label files, such as {orphans[0]}, has an image of its "
            f"name in {images}. Give two folders with the same names in them, such as images/train "
            "and labels/train."
        )
        return
    for name in orphans:
        others = [
            path.name
            for path in sorted((images / name).parent.glob(f"{escape(name.stem)}.*"))
            if path.suffix.lower() != ".txt"  # itself, where photos and labels share a folder
        ]
        there = f": {others[0]!r} is no image that can be read. Convert it to PNG" if others else ""
        yield f"{name} has no image in {images}{there or '. Add it, or move the file away'}."


def texts_read(annotations: Path, content: Json) -> list[Path]:
    """The label files of a folder that was read; those with objects are not opened again."""
    with_objects = {entry["origin"].rpartition(", line ")[0] for entry in content["annotations"]}
    return label_texts(annotations, lambda path: path.name in with_objects)


def spelling_notes(content: Json) -> Iterator[str]:
    """A line that counts the label files whose names are spelled otherwise than their photos'."""
    file_of = {image["id"]: Path(image["file_name"]) for image in content["images"]}
    found = {
        entry["origin"].rpartition(", line ")[0]: file_of[entry["image_id"]]
        for entry in content["annotations"]
    }
    other = {name: path for name, path in found.items() if Path(name).stem != path.stem}
    if other:
        name, path = next(iter(other.items()))
        yield (
            f"{len(other)} label files are spelled otherwise than their images, such as {name!r} "
            f"for {str(path)!r}."
        )


def pictures_below(images: Path) -> list[Path]:
    """The photos of a folder, in subfolders too."""
    return files_below(images, *IMAGE_SUFFIXES)


def _stem(name: Path) -> str:
    return str(name.with_suffix(""))


def _label_files(annotations: Path, photos: Set[str], problems: list[str]) -> dict[str, Path]:
    """Label files by stem; what has the stem of a photo is opened once, when it is read."""

    def is_known(path: Path) -> bool:
        return _stem(path.relative_to(annotations)) in photos

    found: dict[str, Path] = {}
    for path in label_texts(annotations, is_known):
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
    wrong: Dropped,
    problems: list[str],
) -> None:
    try:
        lines = read_text(path).splitlines()
    except (TextError, FileNotFoundError) as error:
        link = link_to_nothing(path)
        problems.append(f"{path.name}: {error if link is None else f'{link}. Mend or remove it.'}")
        return
    if may_list_photos(path) and lists_photos(lines):
        return
    image_id, size = image
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        found = read(line, size)
        if isinstance(found, str):
            wrong.append((where, found))
        elif found is not None:
            place = {"id": len(content["annotations"]) + 1, "image_id": image_id}
            content["annotations"].append({**place, **found, "origin": where})
