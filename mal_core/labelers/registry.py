"""Every labeler in one line: how it is made of its settings."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mal_core.config import MalConfig
from mal_core.config.labelers import LabelerConfig, MemberConfig
from mal_core.config.roles import Role, keys_with
from mal_core.errors import ConfigError
from mal_core.labelers.drawing import Drawer, DrawnPhotos
from mal_core.labelers.grabcut import GrabCut
from mal_core.labelers.shapes import Boxes, Ellipses
from mal_core.labelers.weights import find_weights, require_package
from mal_core.labeling.protocol import PhotoLabeler

if TYPE_CHECKING:  # torch
    from mal_core.labeling.mask_writer import MaskWriter


def _foundation(config: MemberConfig) -> Drawer:
    require_package(config)
    folder = find_weights(config)
    from mal_core.labelers.foundations import Foundation

    return Foundation(folder, config)


DRAWERS: Mapping[str, Callable[[MemberConfig], Drawer]] = {
    "sam": _foundation,
    "sam2": _foundation,
    "sam3": _foundation,
    "hq_sam": _foundation,
    "box": lambda _config: Boxes(),
    "ellipse": lambda _config: Ellipses(),
    "grabcut": GrabCut,
}
"""Labelers that need no training here; `mal` is the one that does, `ensemble` has several."""


def photo_labeler(config: LabelerConfig, checkpoint: Path | None, mal: MalConfig) -> PhotoLabeler:
    """A labeler as labeling asks for it.

    Args:
        config: Which one.
        checkpoint: Of our own network, if it draws.
        mal: How that network labels.

    Raises:
        ConfigError: Its package or its weights are not there.
        CheckpointError: Its weights do not fit.
    """
    if config.name == "mal":
        return _trained(checkpoint, mal)
    if config.name != "ensemble":
        return DrawnPhotos(DRAWERS[config.name](config))
    from mal_core.labelers.ensemble import Ensemble

    drawers = [drawer_of(one, checkpoint, mal) for one in config.members]
    return Ensemble(config, drawers)


def drawer_of(config: MemberConfig, checkpoint: Path | None, mal: MalConfig) -> Drawer:
    """A labeler that draws box by box, our own network too.

    Args:
        config: Which one.
        checkpoint: Of our own network, if it draws.
        mal: How that network labels.

    Raises:
        ConfigError, CheckpointError: As `photo_labeler`.
    """
    if config.name != "mal":
        return DRAWERS[config.name](config)
    from mal_core.labelers.trained import Trained

    return Trained(_trained(checkpoint, mal))


def _trained(checkpoint: Path | None, mal: MalConfig) -> "MaskWriter":
    if checkpoint is None:
        message = "labeler=mal needs a checkpoint: train one, or give checkpoint=FILE."
        raise ConfigError(message)
    from mal_core.labeling.mask_writer import MaskWriter
    from mal_core.models.checkpoints import load_labeler

    network, trained = load_labeler(checkpoint)
    return MaskWriter(network, labeling_config(trained, mal))


def labeling_config(trained: MalConfig, chosen: MalConfig) -> MalConfig:
    """The checkpoint's settings with the labeling choices of this run."""
    choices = {key: getattr(chosen, key) for key in keys_with(MalConfig, Role.LABELING)}
    return dataclasses.replace(trained, **choices)
