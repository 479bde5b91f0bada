"""Labeled batches of photos on disk, so that a killed run continues with the same bytes."""

import hashlib
import json
import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mal_core.processes.records import from_json, to_json
from mal_core.types import Outcome

logger = logging.getLogger(__name__)

JOURNAL = "journal"
"""Folder beside the labels, of what is labeled so far."""
BatchKey = tuple[int, ...]
"""Ids of the photos of one batch, in order."""
Outcomes = dict[int, list[Outcome]]
"""What became of the boxes of each photo, by image id."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """One batch: boxes of each photo, and what became of them, photo by photo."""

    batch: BatchKey
    num_boxes: Mapping[int, int]
    outcomes: tuple[Outcome, ...]

    def by_image(self) -> Outcomes:
        values = iter(self.outcomes)
        return {image: list(islice(values, self.num_boxes[image])) for image in self.batch}


class LabelJournal:
    """The finished batches of all processes that ever worked on the same labels.

    A line is a whole batch: which photos share a forward pass can move the last bits of
    a logit, so a batch counts as done as a whole or not at all. Every process appends to
    a file of its own: shards side by side, another number of shards than before, and a
    process that should have ended already never touch each other's lines. Each line begins
    with the digest of its rest. One that does not verify, cut short by a kill or changed
    on the disk, ends its file: its batch and those behind it are labeled again.

    Args:
        folder: Shared by all of them; made when it is absent.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._own = folder / f"{uuid.uuid4().hex}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, batch: BatchKey, outcomes: Mapping[int, Sequence[Outcome]]) -> None:
        """Store what became of the boxes of one batch."""
        entry = _Entry(
            batch=batch,
            num_boxes={image: len(outcomes[image]) for image in batch},
            outcomes=tuple(outcome for image in batch for outcome in outcomes[image]),
        )
        content = json.dumps(to_json(entry)).encode()
        with self._own.open("ab") as stream:
            stream.write(_digest(content) + b" " + content + b"\n")

    def batches(self) -> set[BatchKey]:
        """What is done."""
        return {tuple(entry["batch"]) for entry in self._entries()}

    def read(self) -> dict[BatchKey, Outcomes]:
        """Everything that is done; a batch that two processes labeled counts once."""
        entries = [from_json(_Entry, entry, self.folder) for entry in self._entries()]
        return {entry.batch: entry.by_image() for entry in entries}

    def _entries(self) -> Iterator[dict[str, Any]]:
        for path in sorted(self.folder.glob("*.jsonl")):
            with path.open("rb") as lines:
                for line in lines:
                    digest, _, content = line.rstrip(b"\n").partition(b" ")
                    if digest != _digest(content):
                        logger.warning("%s: a line does not verify; labeled again from there", path)
                        break
                    yield json.loads(content)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
