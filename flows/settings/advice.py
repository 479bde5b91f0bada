"""What to write instead of a value that cannot be meant, as sentences of an error."""

import json
import typing
from pathlib import Path

from flows.settings.recipes import options_of
from flows.settings.run_config import LABELS
from mal_core.config.labelers import UNTRAINED, LabelerName
from mal_core.config.roles import Setting
from mal_core.labelers.weights import CONFIG, FAMILIES

GUIDE = "mal.guide"


def one_choice(group: str, value: object) -> str | None:
    """What is wrong with the choice in a configuration group; None for one name.

    Args:
        group: Such as "labeler".
        value: As Hydra reads it.
    """
    if isinstance(value, str) and value:
        return None
    names = value if isinstance(value, list) else []
    if len(names) == 1:
        return one_choice(group, names[0])
    if not names:
        available = ", ".join(options_of(group))
        return f"{group} needs one choice. Available: {available}."
    joined = ",".join(str(name) for name in names)
    together = ""
    if group == "labeler":
        together = f"labeler=ensemble 'labeler.members=[{joined}]' has all draw together, "
    each = f"`mal sweep {group}={joined}` runs each"
    return f"{group}=[{joined}]: a run takes one choice. {together}{each}."


def instead(setting: Setting, path: Path) -> str:
    """What to give for a file that is not there, after a blank; empty if that is not known."""
    family = _foundation_in(path)
    if family is not None:
        given = f"labeler={family} labeler.weights={path}"
        if setting.key == GUIDE:
            given = f"mal.guide={family} guide.weights={path}"
        return f" It holds a foundation model, which is given by {given}."
    if setting.key == GUIDE:
        return f" Wanted a COCO file of masks, or a labeler: {', '.join(UNTRAINED)} or ensemble."
    if setting.made == LABELS and path.name in typing.get_args(LabelerName):
        made = f"`mal label labeler={path.name} output=masks.json` makes one of that labeler"
        return f" A file of masks is wanted: {made}; then {setting.key}=masks.json."
    if setting.made is not None:
        stage = setting.made.stage
        return f" Wanted a FILE, latest, or {stage}/KEY as `mal cache ls {stage}` lists it."
    return ""


def _foundation_in(folder: Path) -> str | None:
    """The labeler that takes the weights of a folder, if they are of a foundation model."""
    try:
        kind = json.loads((folder / CONFIG).read_bytes()).get("model_type")
    except (OSError, ValueError, RecursionError, AttributeError):
        return None
    return next((name for name, kinds in FAMILIES.items() if kind in kinds), None)
