"""Write a mask for every box: one decode per photo, paste and encode inside the crop."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from mal_core.data.pseudo_labels import write_pseudo_labels
from mal_core.errors import LabelingError
from mal_core.labeling.journal import JOURNAL, BatchKey, LabelJournal, Outcomes
from mal_core.labeling.protocol import Photo, PhotoLabeler
from mal_core.labeling.trial import scored_by_class
from mal_core.labeling.upright import upright_outcomes
from mal_core.processes.progress import Progress
from mal_core.quality.score import drift_line
from mal_core.types import (
    BoxAnnotation,
    BoxDataset,
    Outcome,
    PseudoLabel,
    PseudoLabelSet,
    SkippedBox,
)

logger = logging.getLogger(__name__)

IMAGES_PER_BATCH = 8
"""Photos whose boxes share forward passes. Always the same ones, counted from the first photo
with a box, whoever labels them and after any kill: so the bytes of the labels never differ."""
BOXES_BETWEEN_REPORTS = 100
"""A photo with thousands of boxes is hours of work: it shows that something moves."""

Report = Callable[[int, int], None]
"""Told how many boxes are done and how many there are."""


class LabelWork:
    """The photos of a dataset in batches, and the cut of these batches into shards."""

    def __init__(self, dataset: BoxDataset) -> None:
        self.dataset = dataset
        self.boxes_of: dict[int, list[BoxAnnotation]] = defaultdict(list)
        for annotation in dataset.boxes:
            self.boxes_of[annotation.image_id].append(annotation)
        records = [record for record in dataset.images if record.image_id in self.boxes_of]
        self.batches = {
            tuple(record.image_id for record in batch): batch
            for start in range(0, len(records), IMAGES_PER_BATCH)
            if (batch := records[start : start + IMAGES_PER_BATCH])
        }

    def num_boxes(self, batches: Iterable[BatchKey]) -> int:
        """How many boxes lie in some batches."""
        return sum(len(self.boxes_of[image_id]) for batch in batches for image_id in batch)

    def shard(self, index: int, count: int) -> list[BatchKey]:
        """Consecutive batches with about 1/`count` of all boxes; `index` is 0-based.

        The shards of one count hold every batch once; some are empty where there are
        more shards than batches.
        """
        total, before = self.num_boxes(self.batches), 0
        found = []
        for batch in self.batches:
            boxes = self.num_boxes([batch])
            # A batch belongs to the shard that its middle box falls into.
            if (2 * before + boxes) * count // (2 * total) == index:
                found.append(batch)
            before += boxes
        return found

    def label(
        self,
        batches: Sequence[BatchKey],
        writer: PhotoLabeler,
        journal: LabelJournal,
        report: Report,
    ) -> None:
        """Label those of the batches that are not in the journal."""
        finished = journal.batches()
        waiting = [batch for batch in batches if batch not in finished]
        total = self.num_boxes(batches)
        done = total - self.num_boxes(waiting)
        report(done, total)
        for batch in waiting:
            outcomes: list[Outcome] = []
            for outcome in self._outcomes(batch, writer):
                outcomes.append(outcome)
                if len(outcomes) % BOXES_BETWEEN_REPORTS == 0:
                    report(done + len(outcomes), total)
            journal.add(batch, self._by_image(batch, outcomes))
            done += len(outcomes)
            report(done, total)

    def _outcomes(self, batch: BatchKey, writer: PhotoLabeler) -> Iterator[Outcome]:
        boxes = chain.from_iterable(self.boxes_of[image_id] for image_id in batch)
        if any(box.corners is not None for box in boxes):
            return upright_outcomes(writer.outcomes, self.photos(batch))
        return writer.outcomes(self.photos(batch))

    def photos(self, batch: BatchKey) -> Iterator[Photo]:
        """The photos of a batch with their boxes, not decoded yet."""
        for record in self.batches[batch]:
            boxes = tuple(self.boxes_of[record.image_id])
            yield Photo(record=record, boxes=boxes, source=self.dataset.image_root)

    def _by_image(self, batch: BatchKey, outcomes: Iterable[Outcome]) -> Outcomes:
        in_order = iter(outcomes)
        return {
            image_id: list(islice(in_order, len(self.boxes_of[image_id]))) for image_id in batch
        }


def generate_pseudo_labels(
    dataset: BoxDataset,
    writer: PhotoLabeler,
    *,
    source: Path,
    output: Path,
    ledger: Path,
) -> PseudoLabelSet:
    """Label every box of a dataset and write the pseudo-label file.

    What lies in the journal beside `output` is not labeled again, whoever labeled it:
    an interrupted attempt, or shards (see `label_shard`). It stays there: a caller that is
    stopped before it has put the output in its place gets the labels from it once more.

    Args:
        dataset: Boxes to label.
        writer: Draws the masks.
        source: COCO file whose fields are kept; its masks are not read.
        output: Receives the labeled COCO file.
        ledger: Receives the skipped boxes with reasons.

    Returns:
        The accounting, already checked: boxes in = masks + crowds + skipped.

    Raises:
        LabelingError: The accounting does not add up, or the journal did not keep its lines.
    """
    journal, work = LabelJournal(output.parent / JOURNAL), LabelWork(dataset)
    batches = list(work.batches)
    finished = journal.batches() & work.batches.keys()
    if len(finished) < len(batches):
        total, done = work.num_boxes(batches), work.num_boxes(finished)
        with Progress("label boxes", total, done) as progress:
            work.label(batches, writer, journal, lambda done, _: progress.update(done))
    written = journal.read()
    lost = [batch for batch in batches if batch not in written]
    if lost:
        message = (
            f"{journal.folder}: {work.num_boxes(lost)} labels changed on the disk after they "
            "were written. Is the disk sound? The same command labels them again."
        )
        raise LabelingError(message)
    everything = [
        outcome for batch in batches for outcomes in written[batch].values() for outcome in outcomes
    ]
    labels = [outcome for outcome in everything if isinstance(outcome, PseudoLabel)]
    labels = scored_by_class(dataset, writer.scored(dataset, labels))
    skipped = [outcome for outcome in everything if isinstance(outcome, SkippedBox)]
    skipped = [*dataset.skipped, *skipped]
    compat = writer.crowds_as_objects
    _say_what_was_cleaned(labels)
    if drift := drift_line([label.components for label in labels]):
        logger.info("%s", drift)
    result = write_pseudo_labels(source, labels, skipped, output, ledger, compat_official=compat)
    logger.info("%s", result.summary())
    return result


def _say_what_was_cleaned(labels: Sequence[PseudoLabel]) -> None:
    """Nothing is changed without a count."""
    dropped = [label.dropped for label in labels if label.dropped]
    filled = [label.filled for label in labels if label.filled]
    ceded = [label.ceded for label in labels if label.ceded]
    if dropped or filled or ceded:
        logger.info(
            "cleaned: %d masks lost fragments (%d px), %d had holes filled (%d px), %d gave pixels "
            "to other boxes (%d px)",
            *(number(found) for found in (dropped, filled, ceded) for number in (len, sum)),
        )


def label_shard(
    dataset: BoxDataset,
    writer: PhotoLabeler,
    *,
    output: Path,
    shard: tuple[int, int],
    report: Report,
) -> None:
    """Label one shard of a dataset into the journal beside `output`.

    `generate_pseudo_labels` then writes the file from the journal, and labels what no
    shard has: the file is the same whatever the shards were.

    Args:
        dataset: Boxes to label, of all shards.
        writer: Draws the masks.
        output: The labeled COCO file that all shards are made for.
        shard: 0-based number of this shard, and how many there are.
        report: Told after every batch how many boxes of this shard are done.
    """
    work = LabelWork(dataset)
    journal = LabelJournal(output.parent / JOURNAL)
    work.label(work.shard(*shard), writer, journal, report)
