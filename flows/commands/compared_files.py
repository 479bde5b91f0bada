"""Both sides of `mal evaluate labels= human=` as COCO files, whatever format they came in."""

import contextlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.settings.run_config import RunConfig
from mal_core.errors import ConfigError, DatasetError, told_of
from mal_core.processes.files import write_json

Json = dict[str, Any]
LIST_SUFFIXES = (".txt", ".xml")
"""Of files that VOC takes in place of a folder."""


@dataclass(frozen=True, slots=True)
class Compared:
    """COCO files in plain UTF-8 and with ids in common; the user's own where they are that."""

    labels: Path
    human: Path


@contextlib.contextmanager
def compared_files(config: RunConfig) -> Iterator[Compared]:
    """Both files of a comparison while it lasts; errors inside name the user's own.

    YOLO, VOC and YouTube-VIS have no ids per object: theirs are the places in the human files.

    Raises:
        ConfigError: A folder is given without its format, or YOLO without its images.
        DatasetError: A file is wrong, or the two are not of the same objects.
    """
    labels, human = config.labels, config.human
    assert labels is not None  # noqa: S101 - the caller asked
    assert human is not None  # noqa: S101 - settings demand both
    with tempfile.TemporaryDirectory() as folder:
        plain = {key: Path(folder) / f"{key}.json" for key in ("labels", "human")}
        with told_of({plain["labels"]: labels, plain["human"]: human}):
            ours, truth = _converted(config, labels), _converted(config, human)
            if ours is not None or truth is not None:
                _join(config, ours, truth)
            yield Compared(
                labels=_plain(labels, ours, plain["labels"]),
                human=_plain(human, truth, plain["human"]),
            )


def _plain(given: Path, content: Json | None, target: Path) -> Path:
    """The file itself where it can be read as it is, else a copy at `target`."""
    from mal_core.formats.normal import is_utf8, write_utf8

    if content is not None:
        write_json(target, content)
    elif is_utf8(given):
        return given
    else:
        write_utf8(given, target)
    return target


def _converted(config: RunConfig, given: Path) -> Json | None:
    """The normal form of what has the run's format, None for a COCO file."""
    from mal_core.formats import FORMATS
    from mal_core.formats.ytvis import is_ytvis

    name = config.data.train_format
    if name == "ytvis":
        return FORMATS[name].to_coco(given, given) if is_ytvis(given) else None
    if not given.is_dir() and not (name == "voc" and given.suffix.lower() in LIST_SUFFIXES):
        return None
    if name == "voc":
        return _voc(config, given)
    if name == "yolo":
        if config.images is None:
            message = f"{given} is YOLO, which states no sizes of images: give images=DIR, too."
            raise ConfigError(message)
        return FORMATS[name].read(config.images, given, config.data.orientation)
    if name in ("dota", "yolo_obb"):
        message = (
            f"{given} has rotated boxes, which are no masks. Give labels/train.json, which "
            f"`mal label data={name}` writes, and human masks with the same ids."
        )
        raise ConfigError(message)
    message = f"{given} is a folder; a FILE is wanted, or data=yolo or data=voc with a folder."
    raise ConfigError(message)


def _voc(config: RunConfig, given: Path) -> Json:
    """Of XML files with masks beside them, of their parent, or of masks for the human's XML."""
    from mal_core.formats.voc import voc_to_coco
    from mal_core.formats.voc_masks import OBJECTS

    masks = given / OBJECTS
    if not masks.is_dir():
        return voc_to_coco(config.images, given)
    human = config.human
    assert human is not None  # noqa: S101 - settings demand both
    for xml in (given / "Annotations", human / "Annotations", human):
        if xml.is_dir() or (xml.is_file() and xml.suffix.lower() in LIST_SUFFIXES):
            return voc_to_coco(config.images, xml, masks=masks)
    problem = f"has {OBJECTS}, but no Annotations: human= must be the folder of its XML files."
    raise DatasetError(given, [problem])


def _join(config: RunConfig, ours: Json | None, truth: Json | None) -> None:
    """Give converted labels the ids of the human's objects, and see that they are the same."""
    from mal_core.data.coco import parse_coco

    labels, human = config.labels, config.human
    assert labels is not None  # noqa: S101 - the caller asked
    assert human is not None  # noqa: S101 - settings demand both
    if ours is not None and truth is not None:
        _number_by_place(labels, ours, truth)
    found, wanted = (
        _places(parse_coco(path) if content is None else content)
        for path, content in ((labels, ours), (human, truth))
    )
    problems = [
        f"annotation {key} is of class {found[key][1]!r} on {found[key][0]}, but in {human} it is "
        f"of {wanted[key][1]!r} on {wanted[key][0]}. Are both of the same files?"
        for key in sorted(found.keys() & wanted.keys())
        if found[key] != wanted[key]
    ]
    if problems and (ours is None or truth is None):
        folder, name = (human if ours is None else labels), config.data.train_format
        problems = [
            f"{problems[0].removesuffix(' Are both of the same files?')} {len(problems)} do not "
            f"fit in all: {folder} is {name}, which has no ids, so its objects count from 1. Give "
            f"both as {name}, or the labels/train.json that `mal label data={name}` wrote."
        ]
    if problems:
        raise DatasetError(labels, problems)


def _number_by_place(labels: Path, ours: Json, truth: Json) -> None:
    wanted: dict[str, list[int]] = {}
    for key, (name, _) in _places(truth).items():
        wanted.setdefault(name, []).append(key)
    names = [name for name, _ in _places(ours).values()]
    problems = [
        f"{name} has {count} objects here, {len(wanted.get(name, []))} in the human files. They "
        "are matched by place; labels/train.json of the same run has ids instead."
        for name, count in Counter(names).items()
        if count != len(wanted.get(name, []))
    ]
    if problems:
        raise DatasetError(labels, problems)
    places = {name: iter(keys) for name, keys in wanted.items()}
    for entry, name in zip(ours["annotations"], names, strict=True):
        entry["id"] = next(places[name])


def _places(content: Json) -> dict[int, tuple[str, str]]:
    """File and class of each annotation by its id, in file order; only where all is well."""
    files = _texts(content["images"], "file_name")
    classes = _texts(content["categories"], "name")
    return {
        entry["id"]: (files[entry["image_id"]], classes[entry["category_id"]].strip())
        for entry in content["annotations"]
        if isinstance(entry, dict)
        and type(entry.get("id")) is int
        and type(entry.get("image_id")) is int
        and type(entry.get("category_id")) is int
        and entry["image_id"] in files
        and entry["category_id"] in classes
    }


def _texts(entries: list[Any], key: str) -> dict[int, str]:
    return {
        entry["id"]: entry[key]
        for entry in entries
        if isinstance(entry, dict)
        and type(entry.get("id")) is int
        and isinstance(entry.get(key), str)
    }
