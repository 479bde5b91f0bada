"""Files of decisions, as the page keeps them: which masks were accepted, rejected, put off."""

import re
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from mal_core.errors import DatasetError
from mal_core.processes.files import write_json

Choice = Literal["accept", "reject", "fix"]
CHOICES: tuple[str, ...] = get_args(Choice)
VERSION = 1
WHOLE_NUMBER = re.compile(r"-?[0-9]{1,40}", re.ASCII)
DECISIONS = "decisions.json"
Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What somebody thinks of a mask.

    Attributes:
        annotation_id: Whose mask it is.
        choice: Accept, reject, or fix later.
        mask: Digest of the mask that was looked at; None: not known.
    """

    annotation_id: int
    choice: Choice
    mask: str | None


def is_decisions(content: object) -> bool:
    """Whether a JSON value is a file of decisions, sound or not."""
    return isinstance(content, dict) and "review" in content and "decisions" in content


def read_decisions(content: object, path: Path) -> list[Decision]:
    """The decisions of a parsed file.

    Raises:
        DatasetError: It is none, or an entry is wrong; carries all problems.
    """
    if not isinstance(content, dict) or content.get("review") != VERSION:
        raise DatasetError(path, ["is no file of decisions that a page of this version wrote."])
    given = content.get("decisions")
    if not isinstance(given, list):
        raise DatasetError(path, ["has no list 'decisions'. Download it from the page again."])
    problems: list[str] = []
    found: dict[int, Decision] = {}
    for index, entry in enumerate(given):
        decision = _decision(entry, index, problems)
        if decision is None:
            continue
        first = found.setdefault(decision.annotation_id, decision)
        if first is not decision:
            problems.append(
                f"annotation {decision.annotation_id} has two decisions, {first.choice} and "
                f"{decision.choice}. Keep one."
            )
    if problems:
        raise DatasetError(path, problems)
    return list(found.values())


def _decision(entry: Any, index: int, problems: list[str]) -> Decision | None:
    where = f"the decision at position {index} (counted from 0)"
    if not isinstance(entry, dict):
        problems.append(f"{where} is {reprlib.repr(entry)}, but must be an object. Drop it.")
        return None
    key, choice, mask = (entry.get(name) for name in ("annotation_id", "decision", "mask"))
    if isinstance(key, str) and WHOLE_NUMBER.fullmatch(key):
        key = int(key)
    if type(key) is not int:
        seen = reprlib.repr(key)
        problems.append(f"{where} has annotation_id={seen}, but it must be a whole number.")
        return None
    if not isinstance(choice, str) or choice not in CHOICES:
        problems.append(
            f"annotation {key} has decision={reprlib.repr(choice)}, but it must be one of "
            f"{', '.join(CHOICES)}."
        )
        return None
    if mask is not None and not isinstance(mask, str):
        problems.append(f"annotation {key} has mask={reprlib.repr(mask)}, but it must be a text.")
        return None
    return Decision(annotation_id=key, choice=cast("Choice", choice), mask=mask)


def save_decisions(content: object, folder: Path) -> None:
    """Write what a page sends beside it, if it is a sound file of decisions.

    Args:
        content: Parsed JSON.
        folder: That of the page; it must be there.

    Raises:
        DatasetError: It is none.
    """
    target = folder / DECISIONS
    found = read_decisions(content, target)
    given = cast("Json", content)
    changed = given.get("changed")
    # Only what is known is written: a page cannot fill the disk with anything else.
    write_json(
        target,
        {
            "review": VERSION,
            "labels": str(given.get("labels", ""))[:1000],
            "queue": str(given.get("queue", ""))[:100],
            "changed": changed if type(changed) is int else 0,
            "decisions": [
                {
                    "annotation_id": decision.annotation_id,
                    "decision": decision.choice,
                    **({} if decision.mask is None else {"mask": decision.mask[:100]}),
                }
                for decision in found
            ],
        },
        indent=1,
    )
