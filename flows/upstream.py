"""Output of an earlier run by name: `latest`, or STAGE/KEY as `mal cache ls` prints it."""

from pathlib import Path
from typing import Any

from flows import cache
from mal_core.errors import ConfigError

LATEST = "latest"
SOURCES = {
    "checkpoint": ("train-mal", "checkpoint.pth"),
    "pseudo_labels": ("generate-pseudo-labels", "train.json"),
}
"""Settings that take a stage's output: the stage, and which of its files."""


def resolve(raw: dict[str, Any], store: Path) -> None:
    """Replace names of stored outputs among the values of a run by their files, in place.

    A file that is called like this is written ./latest.

    Raises:
        ConfigError: The store has no such output.
    """
    for setting, (stage, file) in SOURCES.items():
        value = raw.get(setting)
        if isinstance(value, str) and (value == LATEST or value.startswith(f"{stage}/")):
            raw[setting] = str(_find(setting, value, stage, store) / file)


def _find(setting: str, value: str, stage: str, store: Path) -> Path:
    name = stage if value == LATEST else value
    try:
        found = [one for one in cache.chosen(store, [name]) if one.state == cache.FINISHED]
    except ConfigError as error:
        message = f"{setting}={value}: {error}"
        raise ConfigError(message) from error
    if not found:
        message = f"{setting}={value}: not finished. The command that began it continues it."
        raise ConfigError(message)
    return max(found, key=lambda one: one.used).path
