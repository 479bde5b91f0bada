"""Which files of a folder of annotations are read, and how many are not."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from mal_core.data.images.names import link_to_nothing


def files_below(folder: Path, suffix: str) -> list[Path]:
    """Files of a suffix in any letter case, in subfolders too; hidden ones are left out.

    macOS puts a `._x` beside every x on foreign disks, and `__MACOSX` into archives.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() == suffix and not _is_hidden(path.relative_to(folder))
    )


def missing_folder(path: Path) -> str:
    """What is wrong with a path that is no folder, in words."""
    return "is a file, no folder" if path.exists() else link_to_nothing(path) or "does not exist"


def _is_hidden(name: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.parts)


def unread_note(folder: Path, read: Iterable[Path]) -> list[str]:
    """One line that counts the files of a folder that are not read; none where there are none."""
    known = set(read)
    left = [path for path in folder.rglob("*") if path not in known and path.is_file()]
    if not left:
        return []
    kinds = Counter(
        "hidden" if _is_hidden(path.relative_to(folder)) else path.suffix or "without suffix"
        for path in left
    )
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    first = str(min(left).relative_to(folder))
    return [f"{len(left)} files of {folder}, such as {first!r}, are not read: {listed}."]
