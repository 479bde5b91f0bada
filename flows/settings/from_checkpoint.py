"""How a network labels that was trained elsewhere: as it was, unless the user chooses."""

import dataclasses
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from flows.settings.run_config import RunConfig
from mal_core.config import MalConfig
from mal_core.config.roles import Role, keys_with
from mal_core.processes.records import from_json, to_json

logger = logging.getLogger(__name__)

GROUP = "mal"


def with_own_labeling(config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """The settings, with the labeling choices that come with the network of `checkpoint=`.

    A recipe that the user names (`mal=NAME`) goes before all of them, a single setting
    (`mal.mask_threshold=0.4`) before its own. What training decides stays as it was composed:
    nothing is trained. The paper's own checkpoints bring no settings.

    Raises:
        CheckpointError: The file cannot be read, or its settings are none of this version.
    """
    keys = [override.lstrip("+~").partition("=")[0] for override in overrides]
    drawers = config.labelers or (config.labeler,)
    if config.checkpoint is None or GROUP in keys or not any(one.is_trained for one in drawers):
        return config
    from mal_core.models.checkpoints import stored_settings  # torch

    own = stored_settings(config.checkpoint)
    if own is None:
        return config
    composed = to_json(config.mal)
    values = {**composed, **_labeling(to_json(own))}
    for key in keys:
        if key.startswith(f"{GROUP}."):
            _take(values, composed, key.split(".")[1:])
    mal = from_json(MalConfig, values, GROUP)
    if mal != config.mal:
        logger.info(
            "%s brings its own labeling settings (%s); mal=NAME or mal.KEY=... chooses others",
            config.checkpoint,
            ", ".join(_different(values, composed)),
        )
    return dataclasses.replace(config, mal=mal)


def _labeling(values: dict[str, Any]) -> dict[str, Any]:
    return {key: values[key] for key in keys_with(MalConfig, Role.LABELING)}


def _take(values: dict[str, Any], composed: dict[str, Any], path: Sequence[str]) -> None:
    """Put what was composed at a path in place of what is there."""
    for part in path[:-1]:
        values[part] = dict(values[part])
        values, composed = values[part], composed[part]
    values[path[-1]] = composed[path[-1]]


def _different(values: dict[str, Any], composed: dict[str, Any]) -> Iterable[str]:
    return (key for key in values if values[key] != composed[key])
