"""JSON objects of any size: their long lists in pieces, all else whole.

A file of COCO's size takes gigabytes when it is parsed at once. Here its brackets are
counted first, in windows of some megabytes; each run of whole entries of a wanted list is
then parsed by itself and can be forgotten. What is outside those lists is parsed at the end.
"""

import bisect
import contextlib
import gc
import io
import json
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import chain
from operator import methodcaller
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
from numpy.typing import NDArray

from mal_core.data.foreign import foreign_text, json_obstacle, no_file
from mal_core.data.images.names import link_to_nothing
from mal_core.data.text import GZIP, TextError, unpacked
from mal_core.errors import DatasetError

WINDOW_BYTES = 2 << 20
"""Larger ones leave the caches of processors, and take longer and more memory."""
START_BYTES = 4096
"""By which another kind of file is recognised."""
MAX_DEPTH = 100
"""No annotation format nests deeper; Python's own parsers end somewhere near 1000."""
LONG_NUMBER = re.compile(rb"[0-9]{4301,}")
"""Digits of a whole number that Python does not turn into one."""
BOM = b"\xef\xbb\xbf"
WHITESPACE = b" \t\n\r"
BLANK_COLONS = (b" :", b"\n:", b"\t:", b"\r:")
NAME_BYTES = 4096
"""Within which the name of a list and the blanks behind it are looked for."""
QUOTE, BACKSLASH, COLON, BRACE = ord('"'), ord("\\"), ord(":"), ord("{")
_MASK_OF = methodcaller("get", "segmentation")
"""Where most of the objects are that lie within entries."""
_OPENS = np.array([byte in b"[{" for byte in range(256)])
_STRUCTURE = bytes(byte in b'"[]{}' for byte in range(256))

Json = dict[str, Any]


@dataclass(slots=True)
class Piece:
    """Whole entries of a list, as text.

    Attributes:
        text: A JSON list of them.
        offset: Where its first entry stands in the file, bytes.
    """

    path: Path
    text: bytes
    offset: int
    _members: int | None = field(default=None, init=False, repr=False)

    def quick(self) -> list[Any] | None:
        """The entries, or None where only `exact` can tell: NaN, lone surrogates, errors.

        A whole number beyond 64 bits comes as a float: whoever needs one compares types.

        Raises:
            DatasetError: A key occurs twice in an object.
        """
        try:
            entries = list(orjson.loads(self.text))
        except orjson.JSONDecodeError:
            return None
        if not self._has_members_of(entries):
            self.exact()
        return entries

    def _has_members_of(self, entries: list[Any]) -> bool:
        """Whether the text has as many members as its objects, so that no key occurs twice."""
        objects = [entry for entry in entries if type(entry) is dict]
        text, members = self.text, sum(map(len, objects))
        inner = [one for one in map(_MASK_OF, objects) if type(one) is dict]
        if _count(text, BRACE) != len(objects) + len(inner):  # other objects, or in strings
            values = chain.from_iterable(map(dict.values, objects))
            inner = [one for one in values if type(one) is dict]
        members += sum(map(len, inner))
        self._members = members
        if _count(text, COLON) == members:
            return True
        # There are colons inside of strings, or keys that occur twice.
        return text.count(b'":') == members and not any(blank in text for blank in BLANK_COLONS)

    def exact(self) -> list[Any]:
        """The entries as Python's own parser gives them.

        Raises:
            DatasetError: They are no JSON.
        """
        return list(_loads(self.path, self.text, lambda at: self.offset + at - 1))

    def has_only_numbers(self) -> bool:
        """Whether every value is a number, or a list or object of such; not before `quick`.

        False may also mean that it is not known.
        """
        text, members = self.text, self._members
        if members is None or _count(text, QUOTE) != 2 * members:
            return False
        # Looking for one letter takes a tenth of the time of looking for a word.
        return not (b"true" in text or (b"l" in text and (b"false" in text or b"null" in text)))


def _count(text: bytes, byte: int) -> int:
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == byte))


Visitor = Callable[[str, Piece], None]


def read_lists(path: Path, keys: Collection[str], visit: Visitor) -> Json:
    """Hand over the wanted lists of a JSON file piece by piece.

    Args:
        path: The file; a byte order mark is no part of its text.
        keys: Members of the outermost object; those that are lists are visited.
        visit: Called with the key and each run of entries, in file order.

    Returns:
        The object, with empty lists in place of the visited ones; another value where the
        file holds one.

    Raises:
        DatasetError: The file is absent or is no JSON text.
    """
    with open_text(path) as stream, _without_collector():
        walker = _Walker(path, frozenset(keys), visit)
        pending = b""
        while new := stream.read(max(WINDOW_BYTES, len(pending))):
            pending = walker.take(pending + new)
        return walker.finish(pending)


def read_whole(path: Path) -> Any:
    """Parse any JSON file at once, exactly.

    Raises:
        DatasetError: The file is absent or is no JSON text.
    """
    return read_lists(path, (), _nothing)


def _nothing(_key: str, _piece: Piece) -> None:
    """Never called: no list is wanted."""


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    # Parsed JSON has no cycles, and looking for them takes as long as parsing.
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def open_text(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a JSON file in UTF-8, without a byte order mark, gzip unpacked.

    Raises:
        DatasetError: The file is absent, is no regular file, is broken gzip or is not in
            the encoding that its first bytes show.
    """
    try:
        if path.exists() and not path.is_file():
            raise DatasetError(path, [no_file(path)])
        with path.open("rb") as stream:
            start = stream.read(4)
            if start.startswith(GZIP):
                with unpacked(path) as plain:
                    yield from _in_utf8(plain)
                return
            stream.seek(0)
            yield from _in_utf8(stream)
    except (FileNotFoundError, NotADirectoryError) as error:
        seen = link_to_nothing(path) or "does not exist"
        problem = f"the annotation file {seen}. Correct the path."
        raise DatasetError(path, [problem]) from error
    except TextError as error:
        raise DatasetError(path, [str(error)]) from error
    except OSError as error:
        raise DatasetError(path, [f"cannot be read: {error.strerror}."]) from error
    except UnicodeDecodeError as error:
        raise DatasetError(path, [f"is no JSON text: {error}."]) from error


def _in_utf8(stream: BinaryIO) -> Iterator[BinaryIO]:
    start = stream.read(4)
    encoding = json.detect_encoding(start)
    stream.seek(len(BOM) if start.startswith(BOM) else 0)
    if encoding.startswith("utf-8"):
        yield stream
        return
    text = stream.read().decode(encoding)
    yield io.BytesIO(text.lstrip("\ufeff").encode("utf-8", "surrogatepass"))


class _Walker:
    """Counts brackets from window to window.

    Attributes:
        inside: The wanted list that the text at hand continues, if any.
        outside: All text but the entries of wanted lists, and where each part of it stands.
    """

    def __init__(self, path: Path, keys: frozenset[str], visit: Visitor) -> None:
        self.path, self.keys, self.visit = path, keys, visit
        self.offset = self.depth = 0
        self.inside: str | None = None
        self.outside, self.places = bytearray(), [(0, 0)]
        self._seen: set[str] = set()
        self._continued = False
        names = b"|".join(re.escape(key.encode()) for key in sorted(keys)) or rb"(?!)"
        self._member = re.compile(rb'(?<!\\)"(' + names + rb')"\s*:\s*\Z')

    def take(self, text: bytes) -> bytes:
        """Use what is whole of a text; the rest comes again with more behind it."""
        places, opens, depths = self._brackets(text)
        start = 0
        for index in np.flatnonzero((opens & (depths == 2)) | (~opens & (depths == 1))):
            place = int(places[index])
            if self.inside is not None and not opens[index]:
                self._hand_over(text, start, place)
                self.inside, start = None, place
            elif self.inside is None and (key := self._member_at(text, start, place)) is not None:
                self._keep(text, start, place + 1)
                self._enter(key, place)
                start = place + 1
        if not len(places):
            return text
        cuts = places if self.inside is None else places[~opens & (depths == 2)]
        stop = int(cuts[-1]) + 1 if len(cuts) else 0
        if stop > start:
            (self._keep if self.inside is None else self._hand_over)(text, start, stop)
        stop = max(start, stop)
        self.depth = int(depths[-1]) if self.inside is None else 2
        self.offset += stop
        return text[stop:]

    def finish(self, pending: bytes) -> Any:
        """What is outside of the lists, once the file is at its end."""
        self._keep(pending, 0, len(pending))
        value = _loads(self.path, bytes(self.outside), self._place)
        for key in self.keys & value.keys() if isinstance(value, dict) else ():
            if isinstance(value[key], list) and value[key]:  # its name was written with escapes
                self._enter(key, 0)
                self.visit(key, Piece(self.path, json.dumps(value[key]).encode(), 0))
                value[key] = []
        return value

    def _brackets(
        self, text: bytes
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
        """All brackets outside of strings: their places, which open, the depth behind each."""
        places = np.flatnonzero(np.frombuffer(text.translate(_STRUCTURE), np.bool_))
        found = np.frombuffer(text, np.uint8)[places]
        quotes = found == QUOTE
        if b'\\"' in text:
            quotes[quotes] = [not _is_escaped(text, place) for place in places[quotes].tolist()]
        kept = ((np.cumsum(quotes) & 1) == 0) & (found != QUOTE)
        places, opens = places[kept], _OPENS[found[kept]]
        depths = self.depth + np.cumsum(np.where(opens, 1, -1))
        if len(depths) and depths.max() > MAX_DEPTH:
            at = self._where(int(places[int(np.argmax(depths > MAX_DEPTH))]))
            problem = f"is no JSON text that can be read: nested deeper than {MAX_DEPTH} at {at}."
            raise DatasetError(self.path, [problem])
        return places, opens, depths

    def _member_at(self, text: bytes, start: int, place: int) -> str | None:
        """The wanted member whose list opens at `place`."""
        if text[place] != ord("["):
            return None
        found = self._member.search(text, max(start, place - NAME_BYTES), place)
        return None if found is None else found[1].decode()

    def _enter(self, key: str, place: int) -> None:
        if key in self._seen:
            problem = f"has the list {key!r} twice, again at {self._where(place)}. Merge the two."
            raise DatasetError(self.path, [problem])
        self._seen.add(key)
        self.inside, self._continued = key, False

    def _keep(self, text: bytes, start: int, stop: int) -> None:
        self.places.append((len(self.outside), self.offset + start))
        self.outside += text[start:stop]

    def _hand_over(self, text: bytes, start: int, stop: int) -> None:
        """Visit whole entries of the list at hand; a comma goes before all but the first."""
        entries = text[start:stop]
        blank = len(entries) - len(entries.lstrip(WHITESPACE))
        if blank == len(entries) or self.inside is None:
            return
        if self._continued:
            rest = entries[blank + 1 :]
            if entries[blank : blank + 1] != b"," or not rest.strip(WHITESPACE):
                at = self._where(start + blank)
                problem = f"broken JSON at {at}: a comma is missing, or one is too many."
                raise DatasetError(self.path, [problem])
            entries = b" " * (blank + 1) + rest
        self._continued = True
        self.visit(self.inside, Piece(self.path, b"[%b]" % entries, self.offset + start))

    def _where(self, place: int) -> str:
        return line_and_column(self.path, self.offset + place)

    def _place(self, at: int) -> int:
        """Where a byte of the text outside of the lists stands in the file."""
        part, file = self.places[bisect.bisect_right(self.places, at, key=_first) - 1]
        return file + at - part


def _first(pair: tuple[int, int]) -> int:
    return pair[0]


def _is_escaped(text: bytes, place: int) -> bool:
    """Whether an odd number of backslashes stands before a quote."""
    before = place
    while before and text[before - 1] == BACKSLASH:
        before -= 1
    return (place - before) % 2 == 1


class _RepeatedKeyError(ValueError):
    """An object has a key twice, and every parser would silently take the last value."""


def _object(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    known = found.get("id")
    name = f"the object with id={known}" if type(known) is int else "an object"
    message = f"{name} has the key {twice!r} more than once. Keep one."
    raise _RepeatedKeyError(message)


def _loads(path: Path, text: bytes, place: Callable[[int], int]) -> Any:
    """Parse text of a file; `place` says where in the file a byte of it stands."""
    try:
        return json.loads(text.decode("utf-8", "surrogatepass"), object_pairs_hook=_object)
    except _RepeatedKeyError as error:
        raise DatasetError(path, [str(error)]) from error
    except json.JSONDecodeError as error:
        at = place(len(error.doc[: error.pos].encode("utf-8", "surrogatepass")))
        problem = _other_kind(path) or json_obstacle(
            error.doc, error.pos, f"broken JSON at {line_and_column(path, at)}: ", error.msg
        )
    except UnicodeDecodeError as error:
        problem = _other_kind(path) or (
            f"is no JSON text: byte 0x{text[error.start]:02x} at "
            f"{line_and_column(path, place(error.start))} is not UTF-8. Save the file as UTF-8."
        )
        raise DatasetError(path, [problem]) from error
    except ValueError as error:  # of Python's limit on the digits of whole numbers
        number = LONG_NUMBER.search(text)
        spot = "" if number is None else f" at {line_and_column(path, place(number.start()))}"
        problem = f"is no JSON text that can be read: a number of too many digits{spot}."
        raise DatasetError(path, [problem]) from error
    except RecursionError as error:
        raise DatasetError(path, [f"is no JSON text: {error}."]) from error
    raise DatasetError(path, [problem])


def _other_kind(path: Path) -> str | None:
    """What a file is that is no JSON, where its beginning tells."""
    with open_text(path) as stream:
        kind = foreign_text(stream.read(START_BYTES))
    return None if kind is None else f"is no JSON: {kind}."


def line_and_column(path: Path, offset: int) -> str:
    """Where a byte of a file stands, counted from 1, in words."""
    line, column = 1, b""
    with open_text(path) as stream:
        while offset > 0 and (part := stream.read(min(offset, WINDOW_BYTES))):
            offset -= len(part)
            line += part.count(b"\n")
            column = part.rpartition(b"\n")[2] if b"\n" in part else column + part
    return f"line {line}, column {len(column.decode(errors='replace')) + 1}"
