"""The recipes of conf/ as settings, for those who call the library without the command."""

import dataclasses
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import yaml

from mal_core.config import EncoderConfig, MalConfig, SegmenterConfig
from mal_core.config.labelers import LabelerConfig, MemberConfig
from mal_core.errors import ConfigError, RecordError
from mal_core.processes.records import from_json, to_json

ROOM = "conf"
MISSING = "???"
ITSELF = "_self_"


def labeler_recipe(name: str = "cpu", **changes: Any) -> MalConfig:
    """Settings of the labeler, as `mal=NAME` chooses them, with changes.

    Args:
        name: One of the files of `conf/mal`.
        changes: Fields of `MalConfig`, such as `max_steps=2000`.

    Raises:
        ConfigError: There is no such recipe or field, or a value is impossible.
    """
    try:
        return from_json(MalConfig, to_json({**_read("mal", name), **changes}), "mal")
    except RecordError as error:
        raise ConfigError(str(error)) from error


def encoder_recipe(name: str = "deit_tiny", **changes: Any) -> EncoderConfig:
    """Settings of the encoder, as `encoder=NAME` chooses them, with changes.

    Args:
        name: One of the files of `conf/encoder`.
        changes: Fields of `EncoderConfig`, such as `weights=Path("deit_tiny.safetensors")`.

    Raises:
        ConfigError: There is no such recipe or field, or it needs a file of weights.
    """
    values = {**_read("encoder", name), **changes}
    if values.get("weights") == MISSING:
        message = f"encoder {name} needs weights=FILE: no hub has them."
        raise ConfigError(message)
    try:
        return from_json(EncoderConfig, to_json(values), "encoder")
    except RecordError as error:
        raise ConfigError(str(error)) from error


def drawer_recipe(name: str, **changes: Any) -> LabelerConfig:
    """Settings of who draws, as `labeler=NAME` chooses them, with changes.

    Args:
        name: One of the files of `conf/labeler`.
        changes: Fields of `LabelerConfig`, such as `weights="facebook/sam2.1-hiera-tiny"`. A
            member of an ensemble is a name, or a mapping with `name` and what differs.

    Raises:
        ConfigError: There is no such labeler or field, or a value is impossible.
    """
    values = {**_read("labeler", name), **changes}
    members = values.get("members", ())
    if isinstance(members, str) or not isinstance(members, Sequence):
        message = f"labeler.members is {members!r}; wanted a list, such as ['mal', 'grabcut']."
        raise ConfigError(message)
    values["members"] = [member_values(one) for one in members]
    try:
        return from_json(LabelerConfig, to_json(values), "labeler")
    except RecordError as error:
        raise ConfigError(str(error)) from error


def segmenter_recipe(name: str, **changes: Any) -> SegmenterConfig:
    """Settings of a segmenter, as `segmenters=[NAME]` chooses them, with changes.

    Args:
        name: One of the files of `conf/segmenter`.
        changes: Fields of `SegmenterConfig`, such as `max_steps=2000`.

    Raises:
        ConfigError: There is no such recipe or field, or a value is impossible.
    """
    values = to_json({**_read("segmenter", name), **changes})
    try:
        return from_json(SegmenterConfig, values, "segmenter")
    except RecordError as error:
        raise ConfigError(str(error)) from error


def member_values(member: object) -> dict[str, Any]:
    """One of several labelers as plain data: its defaults, and what was said of it.

    Args:
        member: A name in `conf/labeler`, a mapping with `name` and what differs, or settings.

    Raises:
        ConfigError: There is no such labeler, or it has no name.
    """
    if isinstance(member, MemberConfig):
        return dict(to_json(member))
    said = {"name": member} if isinstance(member, str) else member
    if not isinstance(said, Mapping) or not isinstance(said.get("name"), str):
        message = (
            f"labeler.members: {member!r} names no labeler; wanted a name such as grabcut, or "
            "{name: sam2, weights: DIR}."
        )
        raise ConfigError(message)
    own = {one.name for one in dataclasses.fields(MemberConfig)}
    unknown = sorted(set(said) - own)
    if unknown:
        message = (
            f"labeler.members: {said['name']} has no setting {unknown[0]!r}. Known here: "
            f"{', '.join(sorted(own))}."
        )
        raise ConfigError(message)
    defaults = {key: value for key, value in _read("labeler", said["name"]).items() if key in own}
    return {**defaults, **said}


def _read(group: str, name: str) -> dict[str, Any]:
    folder = resources.files(ROOM).joinpath(group)
    known = sorted(
        one.name.removesuffix(".yaml") for one in folder.iterdir() if one.name.endswith(".yaml")
    )
    if name not in known:
        message = f"{group}={name}: there is no such choice. Available: {', '.join(known)}."
        raise ConfigError(message)
    values = _numbers(yaml.safe_load(folder.joinpath(f"{name}.yaml").read_text()))
    merged: dict[str, Any] = {}
    for base in values.pop("defaults", [ITSELF]):
        merged = _merged(merged, values if base == ITSELF else _read(group, str(base)))
    return merged


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        key: _merged(below[key], value)
        for key, value in above.items()
        if isinstance(value, dict) and isinstance(below.get(key), dict)
    }
    return {**below, **above, **both}


def _numbers(value: Any) -> Any:
    """YAML as Hydra reads it: PyYAML takes 1e-4 for a text."""
    if isinstance(value, dict):
        return {key: _numbers(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_numbers(part) for part in value]
    if isinstance(value, str) and value[:1] in "-+.0123456789":
        try:
            return float(value)
        except ValueError:
            return value
    return value
