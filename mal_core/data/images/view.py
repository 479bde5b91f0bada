"""A folder in which every image of a file is an ordinary one under the file's own name: links."""

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

SOURCE = ".source"
"""Link in a view to the folder it shows."""


def build_view(view: Path, root: Path, names: Iterable[str], replaced: Mapping[str, Path]) -> None:
    """Make the links of a view, or those of them that are absent or point elsewhere.

    Any number of processes may do so at the same time.

    Args:
        view: The folder; made where it is absent.
        root: The user's folder.
        names: Of the images in the annotation file.
        replaced: Files in place of `root / name`.
    """
    view.mkdir(parents=True, exist_ok=True)
    _link(view / SOURCE, root)
    made = {view}
    for name in names:
        target = replaced.get(name, root / name)
        place = view / name
        # A name that cannot be a file here has no link; the check says that it is missing.
        with contextlib.suppress(OSError, ValueError):
            if not place.is_relative_to(view) or ".." in place.parts:
                continue
            if place.parent not in made:
                place.parent.mkdir(parents=True, exist_ok=True)
                made.add(place.parent)
            if name in replaced or target.exists():
                _link(place, target)


def _link(place: Path, target: Path) -> None:
    with contextlib.suppress(OSError):
        if os.readlink(place) == str(target):  # noqa: PTH115 - compared as text
            return
    aside = place.with_name(f".{os.getpid()}.link")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    aside.replace(place)


def is_written_anew(folder: Path, name: str) -> bool:
    """Whether a view shows pixels of its own under a name, and not a file of the user's."""
    source = source_of(folder)
    place = folder / name
    return source != folder and not (place.is_symlink() and place.readlink().is_relative_to(source))


def source_of(folder: Path) -> Path:
    """The user's folder that a view shows; any other folder itself."""
    link = folder / SOURCE
    return link.readlink() if link.is_symlink() else folder
