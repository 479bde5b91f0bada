"""Labeled batches of photos on disk, so that a killed run continues with the same bytes."""

import dataclasses
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mal_core.artifacts import append_jsonl
from mal_core.types import Outcome, PseudoLabel, SkippedBox, SkipReason

BatchKey = tuple[int, ...]
"""Ids of the photos of one batch, in order."""
Outcomes = dict[int, list[Outcome]]
"""What became of the boxes of each photo, by image id."""


class LabelJournal:
    """The finished batches of all processes that ever worked on the same labels.

    A line is a whole batch: which photos share a forward pass can move the last bits of
    a logit, so a batch counts as done as a whole or not at all. Every process appends to
    a file of its own: shards side by side, another number of shards than before, and a
    process that should have ended already never touch each other's lines. A line that a
    kill cut short ends its file, and its batch is labeled again.

    Args:
        folder: Shared by all of them; made when it is absent.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._own = folder / f"{uuid.uuid4().hex}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, batch: BatchKey, outcomes: Mapping[int, Sequence[Outcome]]) -> None:
        """Store what became of the boxes of one batch."""
        everything = [outcome for image in batch for outcome in outcomes[image]]
        entry = {
            "batch": batch,
            "num_boxes": {image: len(outcomes[image]) for image in batch},
            "outcomes": [dataclasses.asdict(outcome) for outcome in everything],
        }
        append_jsonl(self._own, entry)

    def batches(self) -> set[BatchKey]:
        """What is done."""
        return {tuple(entry["batch"]) for entry in self._entries()}

    def read(self) -> dict[BatchKey, Outcomes]:
        """Everything that is done; a batch that two processes labeled counts once."""
        return {tuple(entry["batch"]): _outcomes(entry) for entry in self._entries()}

    def _entries(self) -> Iterator[dict[str, Any]]:
        for path in sorted(self.folder.glob("*.jsonl")):
            for line in path.read_text().splitlines():
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:
                    break
                yield entry


def _outcomes(entry: Mapping[str, Any]) -> Outcomes:
    found: Outcomes = {}
    values = iter(entry["outcomes"])
    for image in entry["batch"]:
        found[image] = [_outcome(next(values)) for _ in range(entry["num_boxes"][str(image)])]
    return found


def _outcome(values: Mapping[str, Any]) -> Outcome:
    if "reason" in values:
        return SkippedBox(**{**values, "reason": SkipReason(values["reason"])})
    return PseudoLabel(**values)
