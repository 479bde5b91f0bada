"""The file that an annotation means when no file has exactly its name.

A folder is walked once; a name is then looked up in a few dictionary accesses, and the closest
existing one is found among its neighbors in sorted order: nothing grows with names x files.
"""

import bisect
import difflib
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from mal_core.data.images.walking import entries_below, is_hidden

SUFFIXES = frozenset(
    f".{kind}"
    for kind in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "bmp", "dib", "tif", "tiff", "webp"),
        *("gif", "jp2", "pgm", "ppm", "pbm", "pnm"),
    )
)
"""What a name that lacks its extension may lack."""
UPLOAD = re.compile(r"(?:^|(?<=/))[0-9a-f]{8}-(?=[^/]+$)")
"""What Label Studio puts before the name of a file that is uploaded to it."""
UPLOAD_LENGTH = 9
ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://[^/]*")
LOCAL_FILE = "?d="
"""Before the path of a file that Label Studio serves from a disk."""
NEIGHBORS = 40
SPLIT_WORDS = frozenset(["train", "training", "val", "valid", "validation", "test", "testing"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The one file that a name fits.

    Attributes:
        file: Relative to the folder.
        how: In which ways the name differs from it.
    """

    file: str
    how: tuple[str, ...]


class ImageIndex:
    """The files of a folder, ready to be looked up by names that are almost right.

    Args:
        root: The folder; hidden files and macOS's `._` files in it are none.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = sorted(
            name for name, is_file in entries_below(root) if is_file and not is_hidden(name)
        )
        self._by_path: dict[str, list[str]] = defaultdict(list)
        self._by_tail: dict[str, list[str]] = defaultdict(list)
        for file in self.files:
            for key in dict.fromkeys((canonical(file), canonical(_without_suffix(file)))):
                self._by_path[key].append(file)
                parts = key.split("/")
                for start in range(len(parts)):
                    self._by_tail["/".join(parts[start:])].append(file)
        self._forward = sorted((canonical(file), file) for file in self.files)
        self._backward = sorted((key[::-1], file) for key, file in self._forward)

    def fitting(self, name: str) -> Sequence[str]:
        """The files that a name can mean; the first rule that has any decides.

        The whole name, in any spelling, with or without extension; then the end of a path in
        the folder; then the name without leading folders, unless these speak of another split;
        then all that without what leads out of the folder, or the prefix of an upload.
        """
        parts = canonical(name).split("/")
        whole = "/".join(parts)
        for found in (self._by_path.get(whole), self._by_tail.get(whole)):
            if found:
                return self._narrowed(name, found)
        for start in range(1, len(parts)):
            found = self._by_path.get("/".join(parts[start:]))
            if found and not self._is_other_split(parts[:start]):
                return self._narrowed(name, found)
        plain = without_upload_prefix(whole)
        if leads_out(name):
            inner = inner_name(name)
            return self.fitting(inner) if inner else ()
        return () if plain == whole else self.fitting(plain)

    def find(self, name: str) -> Found | None:
        """The file that a name means, if exactly one fits."""
        fitting = self.fitting(name)
        if len(fitting) != 1:
            return None
        outside = ("a place outside of the folder",) if leads_out(name) else ()
        inner = inner_name(name) if outside else name
        return Found(file=fitting[0], how=(*outside, *_differences(inner, fitting[0])))

    def closest(self, name: str) -> str | None:
        """The existing file whose name is the most alike, if any is alike at all."""
        key = canonical(name)
        near = [*_around(self._forward, key), *_around(self._backward, key[::-1])]
        basename = key.rpartition("/")[2]
        rated = [
            (difflib.SequenceMatcher(None, canonical(f).rpartition("/")[2], basename).ratio(), f)
            for f in dict.fromkeys(near)
        ]
        best = max(rated, default=(0.0, ""))
        return best[1] if best[0] >= 0.5 else None

    def _narrowed(self, name: str, found: Sequence[str]) -> Sequence[str]:
        """Of several files those that differ from a name in the fewest ways."""
        if len(found) == 1:
            return found
        ways = {file: len(list(_differences(name, file))) for file in found}
        least = min(ways.values())
        return [file for file in found if ways[file] == least]

    def _is_other_split(self, dropped: Sequence[str]) -> bool:
        """Whether leading folders speak of a split, and the folder's own path of another one."""
        said, own = _split_words(dropped), _split_words(self.root.parts[-2:])
        return bool(said and own and not said & own)


def _split_words(parts: Sequence[str]) -> set[str]:
    # train, train2017 and Train_2 speak of one; a project called test_drive does not.
    return {re.sub("[0-9_.-]*$", "", part.lower()) for part in parts} & SPLIT_WORDS


def canonical(name: str) -> str:
    """One spelling for all: slashes, no percent codes, composed characters, no case."""
    text = unicodedata.normalize("NFC", unquote(name.replace("\\", "/"))).casefold()
    return "/".join(part for part in text.split("/") if part not in ("", "."))


def without_upload_prefix(name: str) -> str:
    """A canonical name without what Label Studio puts before names of uploaded files."""
    return UPLOAD.sub("", name)


def leads_out(name: str) -> bool:
    """Whether a name is an address, or a path that begins elsewhere than in its folder."""
    parts = name.replace("\\", "/").split("/")
    return bool(ADDRESS.match(name)) or not parts[0] or ".." in parts or LOCAL_FILE in name


def inner_name(name: str) -> str:
    """A name without host and query, root and steps up."""
    text = name.replace("\\", "/")
    if LOCAL_FILE in text:
        text = text.rpartition(LOCAL_FILE)[2]
    elif address := ADDRESS.match(text):
        text = text[address.end() :].partition("?")[0].partition("#")[0]
    return "/".join(part for part in text.split("/") if part not in ("", ".", ".."))


def link_to_nothing(path: Path) -> str | None:
    """What to say of a link whose target is not there; None for all other paths."""
    if not path.is_symlink() or path.exists():
        return None
    return f"is a link to {str(path.readlink())!r}, which is not there"


def _without_suffix(file: str) -> str:
    stem, suffix = os.path.splitext(file)  # noqa: PTH122 - a text, not a place
    return stem if suffix.lower() in SUFFIXES else file


def _differences(name: str, file: str) -> Iterator[str]:
    """In which ways a name differs from a file that it fits."""
    if "\\" in name and "\\" not in file:
        yield "backslashes for slashes"
    said = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    own = file.split("/")
    if len(said) != len(own):
        yield "other leading folders"
    if UPLOAD.search(canonical(name)) and not UPLOAD.search(canonical(file)):
        yield "a prefix of Label Studio's"
        said[-1] = said[-1][UPLOAD_LENGTH:]
    shared = min(len(said), len(own))
    first, second = "/".join(said[-shared:]), "/".join(own[-shared:])
    if canonical(first) != canonical(second):
        yield "no extension"
        second = _without_suffix(second)
    for way, change in (("percent codes", unquote), ("another Unicode form", _composed)):
        changed = change(first), change(second)
        if (changed[0] == first) != (changed[1] == second):
            yield way
        first, second = changed
    if first != second:
        yield "another letter case"


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _around(ordered: Sequence[tuple[str, str]], key: str) -> Iterator[str]:
    place = bisect.bisect_left(ordered, (key, ""))
    for _, file in ordered[max(0, place - NEIGHBORS) : place + NEIGHBORS]:
        yield file
