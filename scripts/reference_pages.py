"""The references of the site, from what they are about: parser, settings records, docstrings."""

import argparse
import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import mal_core
from flows.commands import cli
from flows.settings import composing
from flows.settings.run_config import RunConfig, SegmenterChanges
from mal_core.config import SegmenterConfig

ROOT = Path(__file__).resolve().parent.parent
COMMENT = re.compile(r"^ *(?P<key>\w+):[^#\n]*# (?P<text>.+)$", re.MULTILINE)
ATTRIBUTES = re.compile(r"^Attributes:\n(?P<lines>(?:    .*\n?|\n)+)", re.MULTILINE)
ATTRIBUTE = re.compile(
    r"^    (?P<names>\w+(?:, \w+)*): (?P<text>(?:.|\n(?=      ))+)", re.MULTILINE
)
UNIONS = (types.UnionType, typing.Union)
TITLES = {
    "": "The run",
    "data": "Data: `data.`",
    "encoder": "Encoder: `encoder.`",
    "mal": "Labeler: `mal.`",
    "labeler": "Who draws: `labeler.`",
    "segmenter": "Segmenters: `segmenter.`",
}


class Setting(NamedTuple):
    """A setting: its full name, what it may be, what it is by default, what it does."""

    key: str
    values: str
    default: str
    meaning: str


def commands() -> str:
    """Every verb of `mal`, as `--help` prints it."""
    parser = cli.build_parser()
    verbs = next(one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    pages = {"mal": parser, **{f"mal {name}": verb for name, verb in verbs.choices.items()}}
    return "\n".join(
        f"## {name}\n\n```text\n{one.format_help()}```\n" for name, one in pages.items()
    )


def settings() -> str:
    """Every setting with its default, by group."""
    groups: dict[str, list[Setting]] = {title: [] for title in TITLES}
    for setting in all_settings():
        group = setting.key.partition(".")[0]
        groups[group if group in TITLES and "." in setting.key else ""].append(setting)
    return "\n".join(
        f"## {TITLES[name]}\n\n{_choices(name)}{_table(found)}" for name, found in groups.items()
    )


def _choices(group: str) -> str:
    if group not in composing.GROUPS:
        return ""
    names = ", ".join(f"`{name}`" for name in composing.options_of(group))
    return f"`{group}=NAME` chooses a file of `conf/{group}`: {names}.\n\n"


def _table(found: list[Setting]) -> str:
    rows = [f"| `{one.key}` | {one.default} | {one.values} | {one.meaning} |" for one in found]
    return "\n".join(
        ["| setting | default | values | what it does |", "|---|---|---|---|", *rows, ""]
    )


def all_settings() -> Iterator[Setting]:
    """Of a run and of the changes to its segmenters, in the order of their records."""
    defaults = composing.compose_raw([])
    for kind, prefix in ((RunConfig, ""), (SegmenterChanges, "segmenter.")):
        yield from _of_record(kind, prefix, defaults)


def _of_record(kind: type, prefix: str, defaults: Mapping[str, Any]) -> Iterator[Setting]:
    hints = typing.get_type_hints(kind)
    meanings = {**_comments(prefix), **_meanings(kind)}
    for item in dataclasses.fields(kind):
        key = f"{prefix}{item.name}"
        inner = _record_in(hints[item.name])
        if inner is not None:
            yield from _of_record(inner, f"{key}.", defaults)
        else:
            default = _default(_value_at(defaults, key), item)
            meaning = meanings.get(item.name, "").replace("|", "\\|")
            yield Setting(key, _type_text(hints[item.name]), default, meaning)


def _record_in(hint: Any) -> type | None:
    options = typing.get_args(hint) if typing.get_origin(hint) in UNIONS else (hint,)
    return next((one for one in options if dataclasses.is_dataclass(one)), None)  # type: ignore


def _meanings(kind: type) -> dict[str, str]:
    """What the docstring of a record and of those it inherits from say of its fields."""
    found: dict[str, str] = {}
    for record in reversed(kind.__mro__):
        section = ATTRIBUTES.search(inspect.cleandoc(record.__dict__.get("__doc__") or ""))
        for match in ATTRIBUTE.finditer(section["lines"] if section else ""):
            text = " ".join(match["text"].split())
            found |= dict.fromkeys(match["names"].split(", "), text)
    return found


def _comments(prefix: str) -> dict[str, str]:
    """What the comments of conf/ say of the keys of a group, for fields without more words."""
    group = prefix.partition(".")[0]
    folder = ROOT / "conf"
    whole_run = group in ("", "segmenter")
    found: dict[str, str] = {}
    for path in sorted(folder.glob("config.yaml" if whole_run else f"{group}/*.yaml")):
        for match in COMMENT.finditer(path.read_text()):
            found.setdefault(match["key"], match["text"].strip())
    return found


def _value_at(values: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(values, Mapping) or part not in values:
            return dataclasses.MISSING
        values = values[part]
    return values


def _default(value: Any, item: "dataclasses.Field[Any]") -> str:
    if value is dataclasses.MISSING:
        value = (
            item.default if item.default_factory is dataclasses.MISSING else item.default_factory()
        )
    if value in (dataclasses.MISSING, composing.MISSING):
        return "none"
    if value is None:
        return "`null`"
    text = str(value).lower() if isinstance(value, bool) else str(value).replace("'", "")
    return f"`{text}`"


def _type_text(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(hint))
    if typing.get_origin(hint) in UNIONS:
        return ", ".join(_type_text(one) for one in typing.get_args(hint))
    names = {type(None): "null", Path: "path", str: "text", int: "whole number", float: "number"}
    names |= {bool: "true, false"}
    names |= {SegmenterConfig: "recipes"}
    if hint in names:
        return names[hint]
    if typing.get_origin(hint) is dict:
        return "mapping"
    inner = [one for one in typing.get_args(hint) if one is not Ellipsis]
    return f"list of {_type_text(inner[0])}" if inner else str(getattr(hint, "__name__", hint))


def python() -> str:
    """Every public name, from its docstring."""
    functions, classes, errors = [], [], []
    for name in mal_core.__all__:
        value = getattr(mal_core, name)
        if inspect.isfunction(value):
            functions.append(f".. autofunction:: mal_core.{name}")
        elif issubclass(value, Exception):
            errors.append(f".. autoexception:: mal_core.{name}")
        else:
            classes.append(f".. autoclass:: mal_core.{name}\n   :members:")
    sections = {"Functions": functions, "Classes": classes, "Errors": errors}
    return "\n".join(
        f"## {title}\n\n```{{eval-rst}}\n" + "\n\n".join(found) + "\n```\n"
        for title, found in sections.items()
    )


PAGES: dict[str, Callable[[], str]] = {
    "commands": commands,
    "settings": settings,
    "python": python,
}
