"""Settings of our own network where another labeler draws: nobody heeds them."""

import functools
from collections.abc import Sequence

from flows.settings.run_config import RunConfig
from mal_core.config.roles import Role, settings_of
from mal_core.errors import ConfigError

NOTHING = ("", "null", "any", "false", "[]")
"""Values that ask for nothing, wherever they are said."""


class UnheededError(ConfigError):
    """Settings that the labeler of a run does nothing with.

    Attributes:
        overrides: They, as the user gave them.
    """

    def __init__(self, drawer: str, overrides: Sequence[str]) -> None:
        self.overrides = tuple(overrides)
        super().__init__(
            f"{overrides[0]}: it is of our own network, and labeler={drawer} draws without. Leave "
            "it out."
        )


def asks_for_nothing(override: str) -> bool:
    """Whether an override says no more than that there is no such thing."""
    return override.partition("=")[2].strip().lower() in NOTHING


def require_heeded(config: RunConfig, overrides: Sequence[str]) -> None:
    """Refuse settings of our network and its training where it does not take part in drawing.

    Args:
        config: What the overrides come to.
        overrides: As the user gave them.

    Raises:
        UnheededError: There are such.
    """
    if config.labeler.is_trained:
        return
    unheeded = [
        text
        for text in overrides
        if not asks_for_nothing(text)
        and text.lstrip("+").partition("=")[0].partition(".")[0] in _network()
    ]
    if unheeded:
        raise UnheededError(config.labeler.name, unheeded)


@functools.cache
def _network() -> frozenset[str]:
    """Groups of settings of our own network and its training."""
    found = settings_of(RunConfig)
    return frozenset(one.key for one in found if one.record and Role.TRAINING in one.roles)
