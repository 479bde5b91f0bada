"""Settings that a verb has no use for are refused, so that nobody thinks they decided something."""

from collections.abc import Sequence

from mal_core.errors import ConfigError

GROUPS = ("mal", "labeler", "labelers", "segmenter")
"""Groups of settings of which who only scores masks asks nothing."""


def refuse_unused(overrides: Sequence[str], verb: str, groups: Sequence[str]) -> None:
    """Refuse overrides of groups of settings, and a policy for licences that are not looked at.

    Args:
        overrides: As the user gave them.
        verb: The command.
        groups: Names of the groups, such as `mal`, of which the verb asks nothing.

    Raises:
        ConfigError: One of them is of such a group, or would permit something unseen.
    """
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key == "license_policy" and value != "any":
            message = (
                f"{override}: `mal {verb}` looks at no licence. `mal check`, `label`, `train` and "
                "`run` do; leave it out."
            )
            raise ConfigError(message)
        if key.partition(".")[0] in groups:
            message = (
                f"{override}: `mal {verb}` asks nothing of {key}; a labeler in checkpoint=FILE "
                "brings its own settings. Leave it out."
            )
            raise ConfigError(message)
