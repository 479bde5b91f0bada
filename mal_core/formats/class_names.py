"""Class names of YOLO: data.yaml of any name, classes.txt or obj.names, as they are written."""

import contextlib
import re
import reprlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from mal_core.data.text import TextError, read_text

NAME_FILES = ("data.yaml", "dataset.yaml", "data.yml", "dataset.yml", "classes.txt", "obj.names")
SUFFIXES = (".yaml", ".yml", ".names")
PLAIN_TAGS = tuple(
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "seq", "map")
)
LARGEST_YAML = 1 << 18
"""Characters; Python's parser takes seconds for more. Objects365 has 10,000."""
SHOWN_GAPS = 3


class NamesError(ValueError):
    """Why there are no class names; the message begins with the file."""


def names_folders(annotations: Path) -> tuple[Path, Path, Path]:
    """Where class names are looked for, in this order."""
    return annotations, annotations.parent, annotations.parent.parent


def name_files(annotations: Path) -> list[Path]:
    """All files that may hold class names."""
    return [path for folder in names_folders(annotations) for path in _candidates(folder)]


def _candidates(folder: Path) -> Iterator[Path]:
    yield from (folder / name for name in NAME_FILES if (folder / name).exists())
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        known = path.name in NAME_FILES or path.name.startswith(".")
        if path.suffix.lower() in SUFFIXES and not known and path.is_file():
            yield path


def class_names(annotations: Path) -> list[str]:
    """The names of classes 0, 1, ...

    Raises:
        NamesError: No file has any, two disagree, or one is wrong.
    """
    for folder in names_folders(annotations):
        found = _named_in(folder)
        (first, names), *others = found.items() or ((None, None),)
        for path, other in others:
            if other != names:
                message = f"{folder}: {first and first.name} and {path.name} name other classes. "
                advice = "Call the right one data.yaml"
                known = {first and first.name, path.name} & {*NAME_FILES}
                raise NamesError(f"{message}{'Take the wrong one away' if known else advice}.")
        if names is not None:
            return names
    message = f"no class names: put one of {', '.join(NAME_FILES)} beside the labels."
    raise NamesError(message)


def _named_in(folder: Path) -> dict[Path, list[str]]:
    """The names that each file of a folder has; those of usual names go before all others."""
    usual: dict[Path, list[str]] = {}
    other: dict[Path, list[str]] = {}
    for path in _candidates(folder):
        if path.name in NAME_FILES and not usual:
            usual[path] = _read(path)
        elif path.name in NAME_FILES:
            with contextlib.suppress(NamesError):  # as long as another one has names
                usual[path] = _read(path)
        elif not usual and (path.suffix == ".names" or _mentions_names(path)):
            other[path] = _read(path)
    return usual or other


def names_notes(annotations: Path, names: Sequence[str]) -> Iterator[str]:
    """What is unusual about the names of classes.

    Args:
        annotations: Folder of label files.
        names: Of classes 0, 1, ..., as `class_names` gives them.
    """
    files: dict[Path, list[str]] = {}
    for folder in dict.fromkeys(names_folders(annotations)):
        with contextlib.suppress(NamesError):  # of a file that was not asked
            files.update(_named_in(folder))
    (taken, _), *others = files.items() or ((None, None),)
    for path, other in others:
        if path.name in NAME_FILES and other[: len(names)] != [*names[: len(other)]]:
            yield f"{path} names other classes than {taken}, whose names are taken."
    if len(names) > 1 and all(map(_is_numbered, names, range(len(names)))):
        yield (
            f"names of classes begin with their numbers, such as {names[0]!r}: they stay as they "
            "are written. If those are no part of the names, take them out."
        )


def _is_numbered(name: str, number: int) -> bool:
    return re.match(rf"{number}\s*[:,.)\s-]\s*\S", name) is not None


def _mentions_names(path: Path) -> bool:
    try:
        text = read_text(path)
    except TextError:
        return False
    return len(text) <= LARGEST_YAML and any(
        line.startswith(("names:", '"names":', "'names':")) for line in text.splitlines()
    )


def _read(path: Path) -> list[str]:
    try:
        text = read_text(path)
    except TextError as error:
        message = f"{path}: {error}"
        raise NamesError(message) from error
    if path.suffix.lower() in (".yaml", ".yml"):
        named = _of_yaml(path, text)
    else:
        lines = text.rstrip().splitlines()
        named = [(line.strip(), number) for number, line in enumerate(lines, start=1)]
    first: dict[str, int] = {}
    for name, line in named:
        if not name:
            message = f"{path}, line {line}: no name, but each class needs one."
            raise NamesError(message)
        if name in first:
            message = f"{path}, line {line}: {name!r} is the name of class {first[name]} already."
            raise NamesError(message)
        first[name] = len(first)
    if not first:
        message = f"{path}: no class names in it."
        raise NamesError(message)
    return list(first)


def _of_yaml(path: Path, text: str) -> list[tuple[str, int]]:
    """Names and their lines. Scalars stay text: YAML 1.1 would turn `no` into False."""
    if len(text) > LARGEST_YAML:
        message = f"{path}: has {len(text)} characters, which class names do not need."
        raise NamesError(message)
    try:
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        message = f"{path}: no YAML mapping: {' '.join(str(error).split())[:300]}."
        raise NamesError(message) from error
    if not isinstance(root, yaml.MappingNode):
        message = f"{path}: no YAML mapping."
        raise NamesError(message)
    members = _members(path, root)
    if "kpt_shape" in members:
        message = f"{path}: `kpt_shape`: labels are poses. Give rows of boxes or polygons."
        raise NamesError(message)
    names = members.get("names")
    tags = [node.tag for node in _all_nodes(names) if not node.tag.startswith(PLAIN_TAGS)]
    if tags:
        message = f"{path}: `names` has the tag {tags[0]!r}, but class names are plain text."
        raise NamesError(message)
    nodes = names.value if isinstance(names, yaml.SequenceNode) else _in_order(names)
    if not nodes or not all(isinstance(node, yaml.ScalarNode) for node in nodes):
        message = f"{path}: `names` {_wanted(names)}"
        raise NamesError(message)
    stated = getattr(members.get("nc"), "value", "").strip()
    if stated.isascii() and stated.isdigit() and stated.lstrip("0") != str(len(nodes)):
        message = f"{path}: `nc` is {shown(stated)}, but `names` has {len(nodes)}. Correct one."
        raise NamesError(message)
    return [(node.value.strip(), node.start_mark.line + 1) for node in nodes]


def _members(path: Path, root: yaml.MappingNode) -> dict[str, yaml.Node]:
    """The values of a mapping whose keys are texts; of `names` there is one."""
    pairs = [(key.value, value) for key, value in root.value if isinstance(key, yaml.ScalarNode)]
    if [key for key, _ in pairs].count("names") > 1:
        message = f"{path}: `names` occurs twice. Keep one."
        raise NamesError(message)
    return dict(pairs)


def _all_nodes(names: yaml.Node | None) -> Iterator[yaml.Node]:
    """The node of `names` and those of its entries, keys included."""
    if names is None:
        return
    yield names
    for entry in names.value if isinstance(names, yaml.CollectionNode) else ():
        yield from entry if isinstance(entry, tuple) else (entry,)


def _wanted(names: yaml.Node | None) -> str:
    gaps = ", ".join(map(str, _gaps(names)[:SHOWN_GAPS]))
    if not gaps:
        return "must list the classes, or map 0, 1, ... to them."
    return f"has no class {gaps}, but numbers go from 0 without gaps. Add a name for each."


def _in_order(names: yaml.Node | None) -> list[yaml.Node]:
    """The values of a mapping of 0, 1, ...; none where it is another."""
    numbered = _numbered(names)
    return [] if _gaps(names) else [numbered[number] for number in sorted(numbered)]


def _gaps(names: yaml.Node | None) -> list[int]:
    """Numbers without a name in a mapping of numbers."""
    numbered = _numbered(names)
    largest = min(max(numbered, default=-1), len(numbered) + SHOWN_GAPS)
    return [number for number in range(largest) if number not in numbered]


def _numbered(names: yaml.Node | None) -> dict[int, yaml.Node]:
    """A mapping of numbers; empty where it is another."""
    if not isinstance(names, yaml.MappingNode):
        return {}
    numbered: dict[int, yaml.Node] = {}
    for key, value in names.value:
        if not isinstance(key, yaml.ScalarNode) or not key.value.isascii():
            return {}
        if not key.value.isdigit() or len(key.value) > 6 or int(key.value) in numbered:
            return {}
        numbered[int(key.value)] = value
    return numbered


def shown(text: str) -> str:
    """A line of a file, short enough for a message."""
    return reprlib.repr(text)
