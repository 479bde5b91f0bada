"""What a tool gives back: shapes with the annotation that each belongs to, as far as it says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mal_core.review.decisions import Decision

SHOWN = 10


class Submission(NamedTuple):
    """What one person has sent of one task; of a task, later ones compare greater.

    Attributes:
        task: Its number in the file.
        changed: When, in seconds since 1970; -inf: not known.
        number: Which the tool gave it; 0: none.
        place: Among those of the task.
    """

    task: int
    changed: float
    number: int
    place: int


WHOLE_FILE = Submission(0, 0.0, 0, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A mask, or a part of one, as a tool has it.

    Attributes:
        where: How messages call it, such as "task 3, region mask_12".
        key: Id of the annotation; None where the shape was drawn anew.
        group: Shapes of one key, one submission and one group are parts of one mask; those of two
            groups are two ways to say it.
        file_name: Of its photo, as far as the tool knows it; None: not known.
        size: Width and height of the photo, px; None: not stated.
        category: Name of its class; None: not stated.
        draw: Gives the mask in any form of a COCO file, or raises ValueError with what is wrong;
            asked only when the sizes are known to fit.
        sent: Which submission it is of.
    """

    where: str
    key: int | None
    group: str
    file_name: str | None
    size: tuple[int, int] | None
    category: str | None
    draw: Callable[[], object]
    sent: Submission = WHOLE_FILE

    def of(self, key: int) -> str:
        """How messages call an annotation that this is a shape of; never twice the same."""
        own = f"annotation {key}"
        return self.where if self.where.endswith(own) else f"{self.where}: {own}"


@dataclass(slots=True)
class Given:
    """All that a file of corrections says.

    Attributes:
        tool: Who wrote it, for people.
        shapes: In the order of the file.
        decisions: Of the page.
        gone: Ids whose region was there and is not any more.
        photos: Names of photos of which the file has all that the tool has; what is not there was
            deleted in the tool, or never sent.
        others: Where regions are that are no masks, by their kind.
        notes: What was left out and why, one sentence each.
    """

    tool: str
    shapes: list[Shape] = field(default_factory=list)
    decisions: Sequence[Decision] = ()
    gone: list[int] = field(default_factory=list)
    photos: list[str] = field(default_factory=list)
    others: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, kind: str, where: str) -> None:
        """Remember a region that is no mask."""
        self.others.setdefault(kind, []).append(where)

    def note_others(self) -> None:
        """Say what was left out as no mask."""
        for kind, places in self.others.items():
            more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
            self.notes.append(
                f"{len(places)} x {kind} is no mask and is left out: "
                f"{'; '.join(places[:SHOWN])}{more}"
            )
