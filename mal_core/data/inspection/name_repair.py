"""Names of images that lead out of their folder, where they can mean one file in it only."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mal_core.data.images.names import ImageIndex, leads_out

Json = dict[str, Any]
Note = Callable[[str, str, str], None]


def with_inner_names(entries: Sequence[Any], root: Path, note: Note) -> list[Any]:
    """Image entries with names inside of the folder.

    Args:
        entries: As they stand in the file; they are not changed.
        root: The folder.
        note: Told of each name that is another one now.
    """
    given = [entry.get("file_name") for entry in entries if isinstance(entry, dict)]
    names = {name for name in given if isinstance(name, str)}
    leading = sorted(filter(leads_out, names))
    if not leading or not root.is_dir():
        return list(entries)
    index = ImageIndex(root)
    found = {name: file.file for name in leading if (file := index.find(name)) is not None}
    meant = Counter([*found.values(), *names])
    inner = {name: file for name, file in found.items() if meant[file] == 1}
    return [_renamed(entry, inner, note) for entry in entries]


def _renamed(entry: Any, inner: dict[str, str], note: Note) -> Any:
    name = entry.get("file_name") if isinstance(entry, dict) else None
    if not isinstance(name, str) or name not in inner:
        return entry
    label = f"image {entry.get('id')}"
    note("corrected", label, f"file_name={name!r} leads out of the folder: it is {inner[name]!r}")
    return {**entry, "file_name": inner[name]}
