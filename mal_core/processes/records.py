"""Dataclasses as JSON and back, for what crosses a process border or lies in a stored file.

Reading is strict: a field that is unknown, missing or of another type is an error that names
it. A field with a default may be missing, as in files of older versions. What the type of a
field says is all there is to write: no record has a codec of its own.
"""

import dataclasses
import functools
import json
import reprlib
import types
from collections.abc import Callable, Hashable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from mal_core.errors import RecordError
from mal_core.processes.files import write_json

Record = TypeVar("Record")
Reader = Callable[[Any], Any]
SCALARS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
}


class _Mismatch(Exception):  # noqa: N818 - never leaves this module
    """What does not fit, and where in the record, outermost last."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.places: list[str] = []

    def inside(self, place: str) -> "_Mismatch":
        self.places.append(place)
        return self


def to_json(value: object) -> Any:
    """A record, or any value that a field of one may have, as plain JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: to_json(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {key: to_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(part) for part in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def from_json(kind: type[Record], value: object, what: object) -> Record:
    """The record that `to_json` made a JSON value of.

    Args:
        kind: A dataclass whose fields are plain values, paths, enumerations, tuples, mappings
            and other records.
        value: Parsed JSON.
        what: How messages call it: the file.

    Raises:
        RecordError: A field is unknown, missing or of another type.
        ConfigError: As the record itself raises it.
    """
    try:
        record: Record = _reader(cast("Hashable", kind))(value)
    except _Mismatch as error:
        place = "".join(reversed(error.places)).removeprefix(".")
        message = f"{what}: {place or kind.__name__} {error.problem}."
        raise RecordError(message) from error
    return record


def write_record(target: Path, record: object, *, indent: int | None = None) -> None:
    """Write a dataclass as a JSON file that `read_record` reads."""
    write_json(target, to_json(record), indent=indent)


def read_record(kind: type[Record], path: Path) -> Record:
    """The dataclass that `write_record` wrote.

    Raises:
        RecordError: It is no JSON, or its fields are not those of the record.
        OSError: The file is absent or cannot be read.
    """
    try:
        value = json.loads(path.read_text())
    except ValueError as error:
        message = f"{path} is no JSON file: {error}."
        raise RecordError(message) from error
    return from_json(kind, value, path)


@functools.cache
def _reader(kind: Any) -> Reader:
    """Made once per type, so that a million records cost no look at types."""
    parts = get_args(kind)
    origin = get_origin(kind)
    if origin in GENERIC:
        return GENERIC[origin](parts)
    if kind in (Any, object):
        return lambda value: value
    if kind in SCALARS:
        return _scalar(kind)
    if dataclasses.is_dataclass(kind):
        return _record(kind)
    if issubclass(kind, Enum):
        return _enumeration(kind)
    message = f"records cannot hold {kind}"
    raise TypeError(message)


def _unfit(value: object, wanted: str) -> _Mismatch:
    return _Mismatch(f"is {reprlib.repr(value)}, but must be {wanted}")


def _record(kind: Any) -> Reader:
    hints, fields = get_type_hints(kind), dataclasses.fields(kind)
    readers = {field.name: _reader(hints[field.name]) for field in fields}
    absent = dataclasses.MISSING
    needed = {f.name for f in fields if f.default is absent and f.default_factory is absent}

    def read(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise _unfit(value, "an object")
        if not (readers.keys() >= value.keys() >= needed):
            unknown, missing = sorted(value.keys() - readers.keys()), sorted(needed - value.keys())
            said = [f"has unknown fields: {', '.join(map(str, unknown))}"] if unknown else []
            said += [f"lacks the fields: {', '.join(missing)}"] if missing else []
            raise _Mismatch(" and ".join(said))
        found = {}
        for name, part in value.items():
            try:
                found[name] = readers[name](part)
            except _Mismatch as error:
                raise error.inside(f".{name}") from None
        return kind(**found)

    return read


def _scalar(kind: Any) -> Reader:
    given = {float: (int, float), Path: (str,)}.get(kind, (kind,))

    def read(value: Any) -> Any:
        if type(value) not in given:
            raise _unfit(value, SCALARS[kind])
        return kind(value)

    return read


def _enumeration(kind: Any) -> Reader:
    def read(value: Any) -> Any:
        try:
            return kind(value)
        except ValueError:
            raise _unfit(value, f"one of {[member.value for member in kind]}") from None

    return read


def _literal(values: tuple[Any, ...]) -> Reader:
    def read(value: Any) -> Any:
        if value not in values:
            raise _unfit(value, f"one of {list(values)}")
        return value

    return read


def _union(kinds: tuple[Any, ...]) -> Reader:
    """The first type that fits; what an optional value lacks is said by its only other type."""
    optional = type(None) in kinds
    readers = [_reader(kind) for kind in kinds if kind is not type(None)]

    def read(value: Any) -> Any:
        if value is None and optional:
            return None
        errors = []
        for reader in readers:
            try:
                return reader(value)
            except _Mismatch as error:
                errors.append(error)
        if len(errors) == 1:
            raise errors[0]
        problems = " or ".join(error.problem for error in errors)
        raise _Mismatch(f"fits none of {len(errors)} types: {problems}")

    return read


def _tuple(kinds: tuple[Any, ...]) -> Reader:
    repeated = len(kinds) == 2 and kinds[1] is Ellipsis
    readers = [_reader(kind) for kind in kinds if kind is not Ellipsis]

    def read(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise _unfit(value, "a list")
        if not repeated and len(value) != len(readers):
            raise _unfit(value, f"a list of {len(readers)}")
        found = []
        for place, part in enumerate(value):
            try:
                found.append(readers[0 if repeated else place](part))
            except _Mismatch as error:
                raise error.inside(f"[{place}]") from None
        return tuple(found)

    return read


def _mapping(kinds: tuple[Any, ...]) -> Reader:
    key_kind, reader = kinds[0], _reader(kinds[1])

    def read(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise _unfit(value, "an object")
        found = {}
        for key, part in value.items():
            try:
                found[_key(key, key_kind)] = reader(part)
            except _Mismatch as error:
                raise error.inside(f".{key}") from None
        return found

    return read


def _key(key: Any, kind: Any) -> Any:
    """JSON has no keys but texts."""
    if kind is not int or type(key) is int:
        return key
    try:
        return int(key)
    except ValueError:
        raise _unfit(key, "a whole number as its key") from None


GENERIC: Mapping[Any, Callable[[tuple[Any, ...]], Reader]] = {
    Union: _union,
    types.UnionType: _union,
    Literal: _literal,
    tuple: _tuple,
    dict: _mapping,
    Mapping: _mapping,
}
