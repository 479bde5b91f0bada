"""The recipes of conf/ as settings, for those who call the library without the command."""

import contextlib
import dataclasses
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

import yaml

from mal_core.config import EncoderConfig, MalConfig, SegmenterConfig
from mal_core.config.labelers import LabelerConfig, MemberConfig
from mal_core.errors import CheckpointError, ConfigError, RecordError
from mal_core.models.weight_packages import installed_weights
from mal_core.processes.records import from_json, to_json

ROOM = "conf"
MISSING = "???"
ITSELF = "_self_"
OF_ONE = re.compile(r"\blabeler\.(?=[a-z_]+=)")
"""How messages begin what a single labeler's settings are called."""


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

    A name of timm's in `weights` stands for its installed package of weights, if there is one.

    Args:
        name: One of the files of `conf/segmenter`.
        changes: Fields of `SegmenterConfig`, such as `max_steps=2000`.

    Raises:
        ConfigError: There is no such recipe or field, or a value is impossible.
    """
    values = to_json({**_read("segmenter", name), **changes})
    if isinstance(values["weights"], str):
        values["weights"] = installed_weights(values["weights"])
    try:
        return from_json(SegmenterConfig, values, "segmenter")
    except RecordError as error:
        raise ConfigError(str(error)) from error


def member_values(member: object, key: str = "labeler.members") -> dict[str, Any]:
    """One of several labelers as plain data: its defaults, and what was said of it.

    Args:
        member: A name in `conf/labeler`, a mapping with `name` and what differs, or settings.
        key: Where the user has said so.

    Raises:
        ConfigError: There is no such labeler, it has no name, or its settings are impossible.
    """
    if isinstance(member, MemberConfig):
        return dict(to_json(member))
    said = {"name": member} if isinstance(member, str) else member
    if not isinstance(said, Mapping) or not isinstance(said.get("name"), str):
        message = (
            f"{key}: {member!r} names no labeler; wanted a name such as grabcut, or "
            "{name: sam2, weights: DIR}."
        )
        raise ConfigError(message)
    name = said["name"]
    known = [one for one in _names("labeler") if one != "ensemble"]
    if name not in (*known, "ensemble"):  # of which the settings say more
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        message = f"{key}: there is no {name!r}. Available: {', '.join(known)}.{hint}"
        raise ConfigError(message)
    own = {one.name for one in dataclasses.fields(MemberConfig)}
    unknown = sorted(set(said) - own)
    if unknown:
        message = (
            f"{key}: {name} has no setting {unknown[0]!r}. Known here: {', '.join(sorted(own))}."
        )
        raise ConfigError(message)
    defaults = {one: value for one, value in _read("labeler", name).items() if one in own}
    with told_of_member(key, name):
        try:
            return dict(to_json(from_json(MemberConfig, to_json({**defaults, **said}), name)))
        except RecordError as error:
            raise ConfigError(str(error)) from error


@contextlib.contextmanager
def told_of_member(key: str, name: str) -> Iterator[None]:
    """Errors about `labeler.KEY` as errors about that setting of one of several labelers.

    Raises:
        ConfigError, CheckpointError: As in the block.
    """
    try:
        yield
    except (ConfigError, CheckpointError) as error:
        said = OF_ONE.sub("", str(error)).replace(f"labeler={name}", name)
        named = said.startswith((f"{name} ", f"{name}:"))
        message = f"{key}: {said}" if named else f"{key}: {name}: {said}"
        raise type(error)(message) from error


def _names(group: str) -> list[str]:
    folder = resources.files(ROOM).joinpath(group)
    files = (one.name for one in folder.iterdir())
    return sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))


def _read(group: str, name: str) -> dict[str, Any]:
    folder, known = resources.files(ROOM).joinpath(group), _names(group)
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
