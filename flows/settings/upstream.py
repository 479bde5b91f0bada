"""Output of an earlier run by name: `latest`, or STAGE/KEY as `mal cache ls` prints it."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flows.store import contents
from mal_core.config.roles import Setting
from mal_core.errors import ConfigError

logger = logging.getLogger(__name__)

LATEST = "latest"
_said: set[tuple[str, Path]] = set()
"""What this process has named: settings are composed many times."""


def resolve(raw: dict[str, Any], store: Path, settings: Iterable[Setting]) -> None:
    """Replace names of stored outputs among the values of a run by their files, in place.

    A file that is called like this is written ./latest.

    Args:
        raw: The values.
        store: Where outputs lie.
        settings: Those of a run; a stage makes what some of them name.

    Raises:
        ConfigError: The store has no such output.
    """
    for marked in settings:
        if marked.made is None:
            continue
        setting, stage = marked.key, marked.made.stage
        value = raw.get(setting)
        if isinstance(value, str) and (value == LATEST or value.startswith(f"{stage}/")):
            found = _find(setting, value, stage, store)
            raw[setting] = str(found / marked.made.file)
            if (setting, found) not in _said:
                _said.add((setting, found))
                logger.info("%s=%s: %s/%s", setting, value, stage, found.name)


def _find(setting: str, value: str, stage: str, store: Path) -> Path:
    name = stage if value == LATEST else value
    try:
        found = [
            entry for entry in contents.chosen(store, [name]) if entry.state == contents.FINISHED
        ]
    except ConfigError as error:
        message = f"{setting}={value}: {error}"
        raise ConfigError(message) from error
    if not found:
        message = f"{setting}={value}: not finished. The command that began it continues it."
        raise ConfigError(message)
    return max(found, key=lambda entry: entry.used).path
