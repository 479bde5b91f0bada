"""Settings that a verb has no use for are refused, so that nobody thinks they decided something."""

from collections.abc import Mapping, Sequence

from mal_core.errors import ConfigError

SCORED = "evaluate labels="
"""`mal evaluate` where it compares two files and runs no stage."""
IMPORT = "review import"
CHECKED = (
    *("run", "sweep", "check", "estimate", "train", "label", "segment", "evaluate", "predict"),
    "bake-off",
)
"""Verbs that look at the input before they work, and so at its licences."""
RECIPES = ("encoder", "mal", "labeler", "labelers", "segmenter", "segmenters")
"""Groups of settings of which who draws and trains nothing asks nothing."""
REWRITERS = ("score", "calibrate", "refine", "export-labels", "review", IMPORT)
"""Verbs that read masks and draw none."""
USED_BY: Mapping[str, tuple[str, ...]] = {
    "license_policy": CHECKED,
    "output": (
        *("label", "run", "estimate", "evaluate", "check", "bake-off", "export"),
        *(SCORED, *REWRITERS),
    ),
    "measure_seconds": ("estimate",),
    "price_per_hour": ("estimate",),
    "fix": ("check",),
    "trust": ("refine",),
    "labelers": ("bake-off",),
    "sample": ("bake-off",),
    "labels": ("evaluate", SCORED, *REWRITERS),
    "human": ("evaluate", SCORED, "calibrate", "bake-off"),
    "images": ("evaluate", SCORED, "score", "calibrate", "refine", "export-labels", "review"),
    "format": ("export-labels",),
    "image_url": ("export-labels", "review"),
    "worst": ("review",),
    "share": ("review",),
    "corrections": ("review", IMPORT),
}
"""Settings of single verbs, and those that heed them; all others are of stages."""
NO_RECIPES = tuple(verb for verb in (*REWRITERS, SCORED) if verb != "refine")
NOTHING = ("", "null", "any", "false", "[]")
"""Values that ask for nothing, wherever they are said."""


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
        key, _, value = override.lstrip("+").partition("=")
        if value.strip().lower() in NOTHING:
            continue
        problem = _problem(key, verb)
        if problem is not None:
            message = f"{override}: {problem} Leave it out."
            raise ConfigError(message)


def _problem(key: str, verb: str) -> str | None:
    if verb in NO_RECIPES and key.partition(".")[0] in RECIPES:
        own = "; a labeler in checkpoint=FILE brings its own settings"
        return f"`mal {verb}` asks nothing of {key}{own if verb in ('score', SCORED) else ''}."
    users = USED_BY.get(key)
    if users is None or verb in users:
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
