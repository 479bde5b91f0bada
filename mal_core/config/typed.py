"""Base of all settings: frozen records whose values fit the types of their fields, or say why not.

Settings come from YAML, which is typed before it becomes a record, and from Python code, which is
not. So each record looks at its own values, before it asks whether they are possible.
"""

import dataclasses
import functools
import math
import os
import reprlib
import types
import typing
from collections.abc import Callable, Hashable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, Literal, Union, cast, get_args, get_origin

from mal_core.errors import ConfigError

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 200
Fit = Callable[[Any], Any]
"""Gives the value as the type has it; raises _UnfitError where it is none."""


class _UnfitError(Exception):
    """A value of another type; says what is wanted, and never leaves this module."""


class Config:
    """Base of all settings: refuses unknown keys and values of another type.

    A whole number stands for a number, a text for a path, a list for a tuple, numpy's numbers for
    Python's.

    Raises:
        ConfigError: A value is of another type, or impossible; the message names the setting.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}
    key: ClassVar[str] = ""

    def __init_subclass__(cls, *, key: str | None = None) -> None:
        """Note under which key users know the record; None: under that of its base."""
        if key is not None:
            cls.key = key

    def __post_init__(self) -> None:
        for name, fit in _fits(cast("Hashable", type(self))).items():
            given = getattr(self, name)
            try:
                fitting = fit(given)
            except _UnfitError as error:
                place = f"{self.key}.{name}" if self.key else name
                refuse(place, given, str(error))
            object.__setattr__(self, name, fitting)
        self._require_possible()

    def _require_possible(self) -> None:
        """Refuse values that the types allow and the work does not; a record has its own."""


def refuse(key: str, seen: object, wanted: str) -> typing.NoReturn:
    """Refuse a value of a setting.

    Raises:
        ConfigError: Always.
    """
    message = f"{key}={_short.repr(seen)} is not possible: it must be {wanted}."
    raise ConfigError(message)


def require(condition: bool, key: str, seen: object, wanted: str) -> None:
    """Refuse a value of a setting unless a condition holds.

    Raises:
        ConfigError: It does not.
    """
    if not condition:
        refuse(key, seen, wanted)


@functools.cache
def _fits(kind: Any) -> dict[str, Fit]:
    hints = typing.get_type_hints(kind)
    return {field.name: _fit(hints[field.name]) for field in dataclasses.fields(kind)}


def _fit(kind: Any) -> Fit:
    parts, origin = get_args(kind), get_origin(kind)
    if origin in (Union, types.UnionType):
        return _any_of([_fit(part) for part in parts])
    if origin is Literal:
        return _one_of(parts)
    if origin is tuple:
        return _tuple(parts)
    if origin is dict:
        return _mapping
    return OTHERS[kind] if kind in OTHERS else _record(kind)


def _anything(value: Any) -> Any:
    return value


def _nothing(value: Any) -> None:
    if value is not None:
        raise _UnfitError("None")


def _boolean(value: Any) -> bool:
    if type(value).__name__ not in ("bool", "bool_"):
        raise _UnfitError("True or False")
    return bool(value)


def _whole(value: Any) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise _UnfitError("a whole number")
    return int(value)


def _number(value: Any) -> float:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise _UnfitError("a number")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise _UnfitError("a finite number")
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _UnfitError("a text")
    return str(value)


def _path(value: Any) -> Path:
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise _UnfitError("a path, as str or Path")
    if not os.fspath(value):
        raise _UnfitError("a path; it is empty")
    return Path(value)


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _UnfitError("a dict with texts for keys")
    return dict(value)


def _record(kind: type) -> Fit:
    def fit(value: Any) -> Any:
        if not isinstance(value, kind):
            raise _UnfitError(f"a {kind.__name__}")
        return value

    return fit


def _one_of(values: tuple[Any, ...]) -> Fit:
    def fit(value: Any) -> Any:
        if not isinstance(value, str) or value not in values:
            raise _UnfitError(f"one of {', '.join(map(repr, values))}")
        return value

    return fit


def _any_of(fits: list[Fit]) -> Fit:
    def fit(value: Any) -> Any:
        wanted = []
        for one in fits:
            try:
                return one(value)
            except _UnfitError as error:
                wanted.append(str(error))
        raise _UnfitError(" or ".join(wanted))

    return fit


def _tuple(kinds: tuple[Any, ...]) -> Fit:
    repeated = kinds[-1:] == (Ellipsis,)
    fits = [_fit(kind) for kind in kinds if kind is not Ellipsis]

    def fit(value: Any) -> tuple[Any, ...]:
        wrong_length = isinstance(value, list | tuple) and not repeated and len(value) != len(fits)
        if not isinstance(value, list | tuple) or wrong_length:
            count = "" if repeated else f" of {len(fits)}"
            raise _UnfitError(f"a tuple{count}")
        every = fits * len(value) if repeated else fits
        try:
            return tuple(one(part) for one, part in zip(every, value, strict=True))
        except _UnfitError as error:
            raise _UnfitError(f"a tuple, each of its values {error}") from None

    return fit


OTHERS: Mapping[Any, Fit] = {
    Any: _anything,
    type(None): _nothing,
    bool: _boolean,
    int: _whole,
    float: _number,
    str: _text,
    Path: _path,
}
