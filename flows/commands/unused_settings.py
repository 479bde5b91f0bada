"""Settings that a verb has no use for are refused, so that nobody thinks they decided something."""

from collections.abc import Sequence

from mal_core.errors import ConfigError

GROUPS = ("mal", "labeler", "labelers", "segmenter")
"""Groups of settings of which who only scores masks asks nothing."""


def refuse_unused(overrides: Sequence[str], verb: str, groups: Sequence[str]) -> None:
    """Refuse overrides of groups of settings.

    Args:
        overrides: As the user gave them.
        verb: The command.
        groups: Names of the groups, such as `mal`, of which the verb asks nothing.

    Raises:
        ConfigError: One of them is of such a group.
    """
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key.partition(".")[0] in groups:
            message = (
                f"{override}: `mal {verb}` asks nothing of {key}; a labeler in checkpoint=FILE "
                "brings its own settings. Leave it out."
            )
            raise ConfigError(message)
