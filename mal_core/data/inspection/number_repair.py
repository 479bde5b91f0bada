"""Numbers that a COCO file writes as text, packed or with a fraction of zero; names for ids.

Exports from tables and dictionaries of other languages have them. Each can mean one thing only,
as long as whoever refers to an id does so in the same words, or by the name of what has it.
"""

import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from pathlib import PurePosixPath
from typing import Any, TypeVar

from mal_core.data.foreign import is_number
from mal_core.data.inspection.unpacking import UNPACKED
from mal_core.data.validation import label_of

Json = dict[str, Any]
Name = TypeVar("Name")
Note = Callable[[str, str, str], None]
IMAGE_NUMBERS, ANNOTATION_NUMBERS = ("width", "height"), ("id", "iscrowd", "area")
NESTED = ("bbox", "segmentation")


def with_numbers(content: Json, note: Note, *, origins: bool = False) -> Json:
    """A COCO object whose numbers are numbers.

    Args:
        content: With the three lists; it is not changed.
        note: Told of what was read, once for each entry.
        origins: As for `label_of`.
    """
    image_of, category_of = (_numbered(content[key]) for key in ("images", "categories"))
    references = {
        "image_id": {**_named(content["images"], "file_name", image_of), **image_of},
        "category_id": {**_named(content["categories"], "name", category_of), **category_of},
    }
    found = dict(content)
    for key, kind, ids, plain in (
        ("images", "image", {"id": image_of}, IMAGE_NUMBERS),
        ("categories", "category", {"id": category_of}, ()),
        ("annotations", "annotation", references, (*ANNOTATION_NUMBERS, *NESTED)),
    ):
        found[key] = []
        for index, entry in enumerate(content[key]):
            read = _read(entry, ids, plain) if isinstance(entry, dict) else {}
            if read:
                shown = [
                    f"{one}={reprlib.repr(entry[one])} is {reprlib.repr(read[one])}" for one in read
                ]
                why = f"numbers that are none: {', '.join(shown)}"
                note("corrected", label_of(kind, index, entry, origins=origins), why)
            found[key].append({**entry, **read} if read else entry)
    return found


_Ids = Mapping[str, Mapping[object, int]]


def number_of(value: object) -> object:
    """A number that is written as text, or a whole one with a fraction of zero; all else as is."""
    if isinstance(value, str) and is_number(text := value.strip()):
        value = int(text) if text.lstrip("+-").isdecimal() else float(text)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _numbered(entries: Sequence[Any]) -> dict[object, int]:
    """A whole number for each id that is none: its own, else the next that is free."""
    given = [entry["id"] for entry in entries if isinstance(entry, dict) and "id" in entry]
    taken: Set[int] = {value for value in given if type(value) is int}
    found: dict[object, int] = {}
    following = max(taken, default=0) + 1
    for value in given:
        if type(value) not in (str, float) or value in found:
            continue
        number = number_of(value)
        if type(number) is not int or number in taken:
            if not isinstance(value, str) or not value.strip():
                continue
            number, following = following, following + 1
        found[value] = number
        taken |= {number}
        following = max(following, number + 1)
    return found


def _named(entries: Sequence[Any], key: str, numbers: Mapping[object, int]) -> dict[object, int]:
    """The number of each entry by its name, of an image also without the extension."""
    pairs: list[tuple[object, int]] = []
    for entry in entries:
        name = entry.get(key) if isinstance(entry, dict) else None
        if not isinstance(name, str):
            continue
        number = numbers.get(entry.get("id"), entry.get("id"))
        for one in {name.strip(), PurePosixPath(name).stem if key == "file_name" else name.strip()}:
            if type(number) is int and not is_number(one):
                pairs.append((one, number))
    return only_owners(pairs)


def only_owners(pairs: Iterable[tuple[Name, int]]) -> dict[Name, int]:
    """The number of each name that stands in one pair only."""
    found: dict[Name, list[int]] = {}
    for name, number in pairs:
        found.setdefault(name, []).append(number)
    return {name: numbers[0] for name, numbers in found.items() if len(numbers) == 1}


def _read(entry: Json, ids: _Ids, plain: Sequence[str]) -> Json:
    """The fields of an entry that are read as other values."""
    read = {
        key: known.get(entry[key], number_of(entry[key]))
        for key, known in ids.items()
        if type(entry.get(key)) in (str, float)
    }
    for key in plain:
        if key in entry:
            plain_value = UNPACKED[key](entry[key]) if key in UNPACKED else entry[key]
            read[key] = _nested(plain_value) if key in NESTED else _whole(key, plain_value)
    return {key: value for key, value in read.items() if not _is_same(value, entry[key])}


def _whole(key: str, value: object) -> object:
    """A field of a number; areas may have a fraction, and keep the kind of number they are."""
    return value if key == "area" and isinstance(value, float) else number_of(value)


def _nested(value: object) -> object:
    """Texts in lists of numbers as numbers; the `size` and `counts` of an RLE, too."""
    if isinstance(value, list):
        return [number_of(one) if isinstance(one, str) else _nested(one) for one in value]
    if isinstance(value, dict):
        return {key: _nested(one) for key, one in value.items()}
    return value


def _is_same(one: object, other: object) -> bool:
    """Equal, and of the same kind where a whole number is wanted: 1.0 is no id."""
    return one == other and (isinstance(one, list | dict) or type(one) is type(other))
