"""Which photo an XML file is of: its <filename>, or the one that is called as the file is."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from mal_core.data.images.names import ImageIndex, canonical, without_upload_prefix
from mal_core.processes.files import is_file

Json = dict[str, Any]
STATED = "stated_file_name"
"""Key of what <filename> says, in the image entry that another photo was taken for."""


def settle_names(files: Iterable[tuple[Path, Json | None]], images: Path) -> Iterator[str]:
    """Name the photo that is there where <filename> names none; told where both are there.

    Photos are renamed with their XML files more often than <filename> is with them.

    Args:
        files: Path of each XML file below its folder, and what it says, which gets a new
            `file_name` and what it was.
        images: Folder of the photos.
    """
    other = [
        (path, file)
        for path, file in files
        if file is not None and not (_agree(path, file) and is_file(images / file["file_name"]))
    ]
    if not other:
        return
    index = ImageIndex(images)
    for path, file in other:
        stated = file["file_name"]
        own, meant = index.fitting(str(path.with_suffix(""))), index.fitting(stated)
        if _agree(path, file) and meant:
            continue
        if meant and own and not {*meant} & {*own}:
            yield (
                f"{path}: its <filename> is {stated!r}, but {own[0]!r} is called as the file is, "
                "and both are there: which is it of? Correct <filename>, or rename the file."
            )
        elif not meant and len(own) == 1:
            file.update({"file_name": own[0], STATED: stated})


def names_note(content: Mapping[str, Any]) -> Iterator[str]:
    """A line that counts the photos that were found by the names of their XML files."""
    found = [image for image in content["images"] if STATED in image]
    if found:
        first = found[0]
        yield (
            f"{len(found)} XML files have a <filename> that is not there, such as "
            f"{first[STATED]!r} in {first['origin']}: the photo that is called as the file is "
            f"taken, {first['file_name']!r}."
        )


def _agree(path: Path, file: Json) -> bool:
    """Whether the names are the same but for folders, extension and spelling."""
    stated = PurePosixPath(canonical(file["file_name"]))
    own = canonical(str(path.with_suffix(""))).rpartition("/")[2]
    spellings = {name for one in (stated.stem, stated.name) for name in _plain(one)}
    return not spellings.isdisjoint(_plain(own))


def _plain(name: str) -> tuple[str, str]:
    return name, without_upload_prefix(name)
