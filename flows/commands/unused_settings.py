"""Settings that a verb has no use for are refused, so that nobody thinks they decided something."""

import functools
from collections.abc import Mapping, Sequence

from flows.settings.commands import IMPORT, REWRITERS, SCORED
from flows.settings.recipes import SEGMENTER_GROUP
from flows.settings.run_config import RunConfig
from flows.settings.unheeded import asks_for_nothing
from mal_core.config.roles import Role, settings_of
from mal_core.errors import ConfigError

DRAW_NOTHING = tuple(verb for verb in (*REWRITERS, SCORED) if verb != "refine")
"""Verbs that ask nothing of who draws or is trained."""


def work_of(verb: str, overrides: Sequence[str]) -> str:
    """The verb, or the part of it that is work of its own."""
    if verb == "review" and list(overrides[:1]) == ["import"]:
        return IMPORT
    compares = verb == "evaluate" and any(
        text.startswith(("labels=", "human=")) for text in overrides
    )
    return SCORED if compares else verb


def refuse_unused(overrides: Sequence[str], verb: str) -> None:
    """Refuse overrides that decide nothing in what a verb does.

    Args:
        overrides: As the user gave them.
        verb: The command; `review import` and `evaluate labels=` are commands of their own.

    Raises:
        ConfigError: One of them decides nothing there.
    """
    for override in overrides:
        if asks_for_nothing(override):
            continue
        problem = _problem(override.lstrip("+").partition("=")[0], verb)
        if problem is not None:
            message = f"{override}: {problem} Leave it out."
            raise ConfigError(message)


@functools.cache
def heeded() -> Mapping[str, tuple[str, ...]]:
    """Settings of single verbs, and those verbs."""
    found = settings_of(RunConfig)
    return {one.key: one.heeded for one in found if one.heeded is not None}


@functools.cache
def _recipes() -> frozenset[str]:
    """Groups of settings that say who draws and how, and who is trained."""
    groups = (one for one in settings_of(RunConfig) if one.record or one.records)
    return frozenset(one.key for one in groups if Role.DATA not in one.roles) | {SEGMENTER_GROUP}


def _problem(key: str, verb: str) -> str | None:
    if verb in DRAW_NOTHING and key.partition(".")[0] in _recipes():
        own = "; a labeler in checkpoint=FILE brings its own settings"
        return f"`mal {verb}` asks nothing of {key}{own if verb in ('score', SCORED) else ''}."
    users = heeded().get(key, (verb,))
    if verb in users:
        return None
    if key == "license_policy":
        return (
            f"`mal {verb}` looks at no licence. `mal check`, `label`, `train` and `run` do, and a "
            "manifest beside labels and models lists them."
        )
    return f"`mal {verb}` does nothing with it. {_listed([one for one in users if one != SCORED])}."


def _listed(users: Sequence[str]) -> str:
    names = [f"`mal {one}`" for one in users]
    return f"{names[0]} does" if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]} do"
