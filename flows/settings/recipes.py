"""Segmenter recipes of a run: files of conf/segmenter, or a user's own mmdet config."""

import dataclasses
import difflib
import os
import re
import typing
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from flows.settings.run_config import SegmenterChanges
from mal_core.config.labelers import LabelerName
from mal_core.errors import ConfigError
from mal_core.labelers.recipes import drawer_recipe, member_values
from mal_core.models.encoder_names import check_encoder_name
from mal_core.models.weight_packages import packaged_weights
from mal_core.processes.records import to_json

CONFIG_MODULE = "conf"
SEGMENTER_GROUP = "segmenter"
HUB = "hub"


def options_of(group: str) -> tuple[str, ...]:
    """Names of the files of a configuration group."""
    folder = resources.files(CONFIG_MODULE) / group
    names = [item.name for item in folder.iterdir() if item.name.endswith(".yaml")]
    return tuple(sorted(name.removesuffix(".yaml") for name in names))


def chosen(names: Any, changes: SegmenterChanges) -> list[dict[str, Any]]:
    """The recipes of a run as plain data, with its changes.

    Args:
        names: Value of `segmenters`.
        changes: Value of `segmenter`.

    Raises:
        ConfigError: There is no such recipe, or its weights are not there.
    """
    given = {key: value for key, value in dataclasses.asdict(changes).items() if value is not None}
    if not given["options"]:
        del given["options"]
    own = given.pop("config", None)
    if own is not None:
        return [_with_weights({**_own_recipe(own), **given})]
    names = [names] if isinstance(names, str) else names
    available = options_of(SEGMENTER_GROUP)
    if not isinstance(names, list) or not names:
        message = f"segmenters={names!r}: wanted a list. Available: {', '.join(available)}."
        raise ConfigError(message)
    unknown = [str(name) for name in names if name not in available]
    if unknown:
        near = difflib.get_close_matches(unknown[0], available, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        listed = ", ".join(available)
        message = f"segmenters: there is no {', '.join(unknown)}. Available: {listed}.{hint}"
        raise ConfigError(message)
    if len(set(names)) < len(names):
        message = f"segmenters={names}: each recipe once."
        raise ConfigError(message)
    return [_with_weights({**_recipe(name), **given}) for name in names]


def labeler(chosen: dict[str, Any], key: str = "labeler") -> dict[str, Any]:
    """The labeler of a run as plain data: members whole, local places of weights absolute.

    Raises:
        ConfigError: A member is no labeler.
    """
    whole = _with_local_weights(chosen)
    return {**whole, "members": labelers(chosen.get("members"), f"{key}.members")}


def labelers(chosen: Any, key: str = "labelers") -> list[dict[str, Any]]:
    """Several labelers as plain data, each whole: a name stands for that labeler's defaults.

    Args:
        chosen: Value of a setting.
        key: That setting.

    Raises:
        ConfigError: One is no labeler.
    """
    listed = chosen if isinstance(chosen, list) else [chosen] if chosen else []
    return [_with_local_weights(member_values(member, key)) for member in listed]


def are_names(value: str) -> bool:
    """Whether a text on the command line is the name of a labeler, or several for a sweep."""
    return {*value.split(",")} <= {*typing.get_args(LabelerName), "null"}


def take_guide(raw: dict[str, Any]) -> dict[str, Any] | None:
    """Take the labeler that `mal.guide` names out of a run's values, as plain data; None: a file.

    A name of a labeler goes before a file of that name, which is written ./NAME.

    Raises:
        ConfigError: `guide` is not what the settings of that labeler can be.
    """
    named, changes = raw["mal"].get("guide"), raw["guide"] or {}
    known = named in typing.get_args(LabelerName)
    fits = isinstance(changes, dict) and changes.get("name", named) == named
    if changes and not (known and fits):
        first = f".{next(iter(changes))}" if isinstance(changes, dict) else f"={changes}"
        message = (
            f"guide{first}: `guide` has settings of the labeler that mal.guide=NAME names, such as "
            f"guide.weights=DIR with mal.guide=sam2; mal.guide is {named or 'not given'}."
        )
        raise ConfigError(message)
    if not known:
        return None
    misplaced = raw["labeler"].get("weights")
    if misplaced is not None and raw["labeler"].get("name") == "mal":
        message = (
            f"labeler.weights={misplaced} is not possible with labeler=mal. Weights of the guide "
            f"are given by guide.weights={misplaced}."
        )
        raise ConfigError(message)
    raw["mal"]["guide"] = None
    return labeler({**to_json(drawer_recipe(named)), **changes}, "guide")


def name_guide(values: dict[str, Any]) -> dict[str, Any]:
    """Settings of a run as plain data, with `mal.guide` as the user wrote it."""
    if values["guide"] is None:
        return values
    return {**values, "mal": {**values["mal"], "guide": values["guide"]["name"]}}


def forget_guides_name(values: Any) -> Any:
    """What `name_guide` was given: a labeler that guides is in `guide` alone."""
    mal = values.get("mal") if isinstance(values, Mapping) else None
    if not isinstance(mal, Mapping) or values.get("guide") is None:
        return values
    return {**values, "mal": {**mal, "guide": None}}


def _with_local_weights(chosen: dict[str, Any]) -> dict[str, Any]:
    weights = chosen.get("weights")
    place = None if weights is None else Path(str(weights)).expanduser()
    if place is None or not place.exists():
        return chosen
    return {**chosen, "weights": os.path.abspath(place)}  # noqa: PTH100 - links stay links


def _own_recipe(config: str) -> dict[str, Any]:
    """A user's mmdet config as a recipe, named after its file."""
    if "::" not in config:
        config = os.path.abspath(Path(config).expanduser())  # noqa: PTH100 - links stay links
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(config.rpartition("::")[2]).stem)
    return {"name": name, "config": config}


def _with_weights(recipe: dict[str, Any]) -> dict[str, Any]:
    """Refuse absent weights; a file's path becomes absolute, so that children find it.

    A name of timm's stands for its installed package of weights, else for its download.
    """
    weights = recipe.get("weights")
    if weights is None or weights == HUB:
        return recipe
    path = Path(str(weights)).expanduser().absolute()
    if path.is_file():
        return {**recipe, "weights": str(path)}
    installed = packaged_weights(str(weights))
    if installed is not None:  # timm, and torch with it, need not be asked
        return {**recipe, "weights": str(installed)}
    try:
        check_encoder_name(str(weights))
    except ConfigError as error:
        message = (
            f"segmenter.weights={weights}: no such file, and no model of timm "
            f"(null: random, {HUB}: the recipe's download)."
        )
        raise ConfigError(message) from error
    return recipe


def _recipe(name: str) -> dict[str, Any]:
    with resources.as_file(resources.files(CONFIG_MODULE) / SEGMENTER_GROUP) as folder:
        loaded = OmegaConf.to_container(OmegaConf.load(folder / f"{name}.yaml"), resolve=True)
    return typing.cast(dict[str, Any], loaded)
