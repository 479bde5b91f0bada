"""Output of an earlier run by name: `latest`, or STAGE/KEY as `mal cache ls` prints it."""

import logging
from pathlib import Path
from typing import Any

from flows.store import contents
from flows.store.stage_names import LABEL, TRAIN
from mal_core.errors import ConfigError

logger = logging.getLogger(__name__)

LATEST = "latest"
SOURCES = {
    "checkpoint": (TRAIN, "checkpoint.pth"),
    "pseudo_labels": (LABEL, "train.json"),
}
"""Settings that take a stage's output: the stage, and which of its files."""
_said: set[tuple[str, Path]] = set()
"""What this process has named: settings are composed many times."""


def resolve(raw: dict[str, Any], store: Path) -> None:
    """Replace names of stored outputs among the values of a run by their files, in place.

    A file that is called like this is written ./latest.

    Raises:
        ConfigError: The store has no such output.
    """
    for setting, (stage, file) in SOURCES.items():
        value = raw.get(setting)
        if isinstance(value, str) and (value == LATEST or value.startswith(f"{stage}/")):
            found = _find(setting, value, stage, store)
            raw[setting] = str(found / file)
            if (setting, found) not in _said:
                _said.add((setting, found))
                logger.info("%s=%s: %s/%s", setting, value, stage, found.name)


def _find(setting: str, value: str, stage: str, store: Path) -> Path:
    name = stage if value == LATEST else value
    try:
        found = [one for one in contents.chosen(store, [name]) if one.state == contents.FINISHED]
    except ConfigError as error:
        message = f"{setting}={value}: {error}"
        raise ConfigError(message) from error
    if not found:
        message = f"{setting}={value}: not finished. The command that began it continues it."
        raise ConfigError(message)
    return max(found, key=lambda one: one.used).path
