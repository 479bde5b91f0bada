"""Hydra overrides -> RunConfig: the one place that knows Hydra, OmegaConf and pydantic."""

import difflib
import functools
import os
import threading
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from operator import attrgetter
from pathlib import Path
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError
from yaml import YAMLError

from flows.settings import recipes, upstream
from flows.settings.advice import instead, one_choice
from flows.settings.places import SHARED_STORE_VARIABLE, absolute, default_store, what_is_there
from flows.settings.recipes import CONFIG_MODULE, SEGMENTER_GROUP
from flows.settings.recipes import options_of as options_of
from flows.settings.run_config import RunConfig, SegmenterChanges
from mal_core.config import SplitConfig
from mal_core.config.roles import Role, Setting, all_settings
from mal_core.errors import ConfigError

GROUPS = frozenset(
    folder.name
    for folder in resources.files(CONFIG_MODULE).iterdir()
    if folder.is_dir() and folder.name not in (SEGMENTER_GROUP, "__pycache__")
)
"""Of which a run takes one choice each."""
MISSING = "???"
HISTORY = "history.jsonl"
"""Evaluations over time, in the store's root folder."""
REVIEWS = "reviews.jsonl"
"""Folders that `mal review` has written, beside it."""

# Hydra keeps its state in a global object: two composes at once break each other.
_hydra_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Composed:
    """Settings, and which of those without a default they lack.

    Attributes:
        absent: Keys of files that some verbs need and others do not.
    """

    config: RunConfig
    absent: frozenset[str]

    def require(self, keys: Sequence[str]) -> RunConfig:
        """The settings.

        Raises:
            ConfigError: One of these is absent.
        """
        _refuse_absent([key for key in keys if key in self.absent])
        return self.config


def compose(overrides: Sequence[str], *, required: Sequence[str] = ()) -> RunConfig:
    """Compose conf/ with overrides in Hydra's grammar and validate the result.

    Relative paths are taken from the current folder.

    Args:
        overrides: For example "encoder=deit_tiny", "mal.max_steps=100".
        required: Keys without a default that this run needs.

    Raises:
        ConfigError: Anything is wrong with the overrides; the message has full key
            names, all problems together.
    """
    return compose_for(overrides, required=required).config


def compose_for(overrides: Sequence[str], *, required: Sequence[str] = ()) -> Composed:
    """As `compose`, for one who learns from the settings what else is required."""
    raw = compose_raw(overrides)
    drawn = raw["data"].get("source") == "scenes"
    if drawn:
        _refuse_files_beside_scenes(raw)
    own = [setting.key for setting in _splits() if not (drawn and Role.DRAWN in setting.roles)]
    absent = {key for key in files_of(*own) if _value_at(raw, key) in (None, MISSING)}
    wanted = [key for key in required if key in absent]
    if _value_at(raw, "encoder.weights") == MISSING:  # weights that no hub has
        wanted.append("encoder.weights")
    _refuse_absent([*wanted, *_halves(raw["data"])])
    changes = _validated(SegmenterChanges, raw.pop("segmenter"), prefix="segmenter")
    raw["segmenters"] = recipes.chosen(raw["segmenters"], changes)
    raw["labeler"] = recipes.labeler(raw["labeler"])
    raw["labelers"] = recipes.labelers(raw["labelers"])
    raw["guide"] = recipes.take_guide(raw)
    raw["store"] = raw["store"] or default_store()
    upstream.resolve(raw, Path(raw["store"]).expanduser().absolute(), _settings())
    raw["shared_store"] = raw["shared_store"] or os.environ.get(SHARED_STORE_VARIABLE) or None
    raw.pop("experiment", None)
    config: RunConfig = _validated(RunConfig, _absolute(raw), prefix="")
    _require_files(config)
    return Composed(config=config, absent=frozenset(absent))


def _halves(data: dict[str, Any]) -> list[str]:
    """Keys that splits lack of which the rest is given; splits of which nothing is are None."""
    lacking = []
    for split in (name for name, value in data.items() if isinstance(value, dict)):
        files = files_of(f"data.{split}")
        absent = [key for key in files if _value_at({"data": data}, key) in (None, MISSING)]
        if files and absent == list(files):
            data[split] = None
        lacking += absent if absent != list(files) else []
    return lacking


def compose_raw(overrides: Sequence[str]) -> dict[str, Any]:
    """The composed values as plain data, not yet typed; absent ones are "???".

    Raises:
        ConfigError: Hydra cannot put them together; says why.
    """
    checked = _checked_overrides(overrides)
    try:
        with _hydra_lock, hydra.initialize_config_module(CONFIG_MODULE, version_base="1.3"):
            composed = hydra.compose("config", overrides=checked)
            container = OmegaConf.to_container(composed, resolve=True, throw_on_missing=False)
    except MissingConfigException as error:
        raise ConfigError(_group_message(error)) from error
    except (HydraException, OmegaConfBaseException) as error:
        message = " ".join(str(error).split())
        raise ConfigError(message) from error
    return typing.cast(dict[str, Any], container)


def known_keys() -> tuple[str, ...]:
    """Full names of all settings, leaves and inner nodes."""
    return (*(setting.key for setting in _settings()), "segmenter")


@functools.cache
def _settings() -> tuple[Setting, ...]:
    changes = all_settings(SegmenterChanges, "segmenter.")
    return (*all_settings(RunConfig), *changes)


def _splits() -> Iterator[Setting]:
    return (setting for setting in _settings() if setting.record is SplitConfig)


def files_of(*splits: str) -> tuple[str, ...]:
    """Full names of the settings that name the files of splits such as "data.train"."""
    return tuple(key for split in splits for key in path_keys() if key.startswith(f"{split}."))


def path_keys() -> tuple[str, ...]:
    """Full names of the settings that name one file or folder."""
    return tuple(
        setting.key for setting in _settings() if setting.is_path and setting.record is None
    )


def _checked_overrides(overrides: Sequence[str]) -> list[str]:
    """Refuse unknown keys all together; allow every known one, listed in a yaml or not."""
    problems, checked = [], []
    for text in overrides:
        parsed = _parse(_quoted_path(text))
        problem = _problem_with(parsed)
        if problem is None:
            checked.append(_forced(parsed))
        else:
            problems.append(problem)
    if problems:
        raise ConfigError("\n".join(problems))
    return checked


def _quoted_path(text: str) -> str:
    """Quote the value of a path, so that blanks, commas and brackets stand for themselves."""
    key, equals, value = text.partition("=")
    plain = value not in ("", "null") and value[0] not in "'\"$" and not recipes.are_names(value)
    quoted = {
        setting.key
        for setting in _settings()
        if (setting.is_path and setting.record is None) or Role.URL in setting.roles
    }
    if not equals or key.lstrip("+") not in quoted or not plain:
        return text
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{escaped}'"


def _parse(text: str) -> Override:
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException as error:
        detail = " ".join(str(error).split())
        advice = "odd values are quoted twice: \"KEY='VALUE'\""
        message = f"{text!r} is no KEY=VALUE in Hydra's grammar ({advice}): {detail}"
        raise ConfigError(message) from error


def sweep_values(text: str) -> list[str] | None:
    """The values of an override that has several (`seed=0,1`, `range(0,3)`); None for one value.

    Raises:
        ConfigError: No override in Hydra's grammar.
    """
    parsed = _parse(_quoted_path(text))
    if not parsed.is_sweep_override():
        return None
    return [str(value) for value in parsed.sweep_string_iterator()]


def _problem_with(override: Override) -> str | None:
    key = override.key_or_group
    if override.is_sweep_override():
        line = override.input_line
        return f"{line}: several values are for `mal sweep`. A list is written {key}=[a,b]."
    if override.is_delete():
        return f"{override.input_line}: settings cannot be removed; set {key}=null instead."
    if key == SEGMENTER_GROUP:
        return f"{override.input_line}: recipes are selected by segmenters=[NAME,...]."
    if key in GROUPS:
        return one_choice(key, override.value())
    if key in known_keys():
        return None
    if any(setting.is_free and key.startswith(f"{setting.key}.") for setting in _settings()):
        return None
    return f"unknown setting {key!r}. {_suggestion(key)}"


def _suggestion(key: str) -> str:
    keys = [known for known in known_keys() if not known.startswith("segmenters.")]
    near = difflib.get_close_matches(key, [*keys, "experiment"], n=1, cutoff=0.6)
    if not near:
        last = key.rpartition(".")[2]
        near = [known for known in keys if known.rpartition(".")[2] == last][:1]
    if near:
        return f"Did you mean {near[0]!r}?"
    parent = key.rpartition(".")[0]
    siblings = [known for known in keys if known.rpartition(".")[0] == parent]
    return f"Known here: {', '.join(siblings or [k for k in keys if '.' not in k])}."


def _forced(override: Override) -> str:
    line = str(override.input_line).lstrip("+")
    return line if override.key_or_group in GROUPS else f"++{line}"


def _group_message(error: MissingConfigException) -> str:
    missing = str(error.missing_cfg_file)
    group, _, name = missing.rpartition("/")
    if group not in GROUPS:
        return " ".join(str(error).split())
    hint = " A timm name goes to encoder.name." if group == "encoder" else ""
    available = ", ".join(options_of(group))
    return f"{group}={name}: there is no such choice. Available: {available}.{hint}"


def _refuse_absent(absent: Sequence[str]) -> None:
    if absent:
        names = ", ".join(absent)
        hint = " ".join(f"{key}=..." for key in absent)
        message = f"Missing mandatory value: {names}. Give it on the command line: {hint}"
        raise ConfigError(message)


def _refuse_files_beside_scenes(raw: Any) -> None:
    drawn = [setting.key for setting in _splits() if Role.DRAWN in setting.roles]
    given = [key for key in files_of(*drawn) if _value_at(raw, key) is not None]
    if given:
        message = (
            f"{', '.join(given)}: this run draws its own data (data=scenes, which "
            "experiment=demo and experiment=smoke choose) and would not read yours. Add data=coco, "
            "or the format they are in, or leave them out."
        )
        raise ConfigError(message)


def _value_at(raw: Any, key: str) -> Any:
    for part in key.split("."):
        raw = raw.get(part) if isinstance(raw, dict) else None
    return raw


def _absolute(raw: dict[str, Any]) -> dict[str, Any]:
    for key in path_keys():
        *parents, last = key.split(".")
        node: Any = raw
        for part in parents:
            node = node.get(part) if isinstance(node, dict) else None
        if isinstance(node, dict) and isinstance(node.get(last), str):
            node[last] = absolute(key, node[last])
    return raw


def _validated(kind: type, raw: Any, *, prefix: str) -> Any:
    try:
        return _adapter(kind).validate_python(raw)
    except ValidationError as error:
        lines = [_line_of(item, prefix) for item in error.errors()]
        raise ConfigError("\n".join(lines)) from error


@functools.cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    """Made once per type: a run asks for its settings many times, for each file's manifest."""
    return TypeAdapter(kind)


def _line_of(item: Any, prefix: str) -> str:
    key = ".".join(str(part) for part in (*([prefix] if prefix else []), *item["loc"]))
    inner = (item.get("ctx") or {}).get("error")
    if isinstance(inner, ConfigError):
        return str(inner)
    if item["type"] == "unexpected_keyword_argument":
        return f"unknown setting {key!r}. {_suggestion(key)}"
    if item["type"] in ("missing", "missing_keyword_only_argument"):
        return f"Missing mandatory value: {key}."
    return f"{key}={item['input']!r}: {item['msg'].lower()}."


def _require_files(config: RunConfig) -> None:
    for setting in all_settings(RunConfig):
        if not setting.roles & {Role.FILE, Role.ANNOTATIONS}:
            continue
        key, path = setting.key, attrgetter(setting.key)(config)
        if path is not None and not path.is_file() and not _is_wanted_folder(config, setting, path):
            message = f"{key}={path}: {what_is_there(path)}.{instead(setting, path)}"
            raise ConfigError(message)


def _is_wanted_folder(config: RunConfig, setting: Setting, path: Path) -> bool:
    if Role.ANNOTATIONS not in setting.roles or not path.is_dir():
        return False
    from mal_core.formats import FORMATS  # numpy and more: only where there is a folder

    return FORMATS[config.data.train_format].in_folders


def as_yaml(config: RunConfig) -> str:
    """All settings of a run, as YAML."""
    return to_yaml(plain(config))


def to_yaml(values: dict[str, Any]) -> str:
    """JSON values as YAML."""
    return str(OmegaConf.to_yaml(OmegaConf.create(values)))


def plain(config: RunConfig) -> dict[str, Any]:
    """All settings of a run as JSON values, `mal.guide` as the user wrote it."""
    return recipes.name_guide(_adapter(RunConfig).dump_python(config, mode="json"))


def from_plain(values: Mapping[str, Any]) -> RunConfig:
    """Settings that `plain` gave.

    Raises:
        ConfigError: They do not fit this version.
    """
    config: RunConfig = _validated(RunConfig, recipes.forget_guides_name(values), prefix="")
    return config


def read_yaml(path: Path) -> RunConfig:
    """Settings that `as_yaml` wrote.

    Raises:
        ConfigError: The file is absent or no longer fits this version.
    """
    try:
        loaded = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, YAMLError, OmegaConfBaseException) as error:
        message = f"{path}: no settings of a run: {error}"
        raise ConfigError(message) from error
    config: RunConfig = _validated(RunConfig, recipes.forget_guides_name(loaded), prefix="")
    return config
