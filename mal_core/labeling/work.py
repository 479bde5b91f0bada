"""Write a mask for every box: one decode per photo, paste and encode inside the crop."""

import dataclasses
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mal_core.config import MalConfig
from mal_core.data.pseudo_labels import write_pseudo_labels
from mal_core.errors import LabelingError
from mal_core.geometry.boxes import box_mask_in_crop
from mal_core.labeling.contested import settled
from mal_core.labeling.journal import JOURNAL, BatchKey, LabelJournal, Outcomes
from mal_core.labeling.protocol import Photo, PhotoLabeler
from mal_core.labeling.tightening import grown_boxes
from mal_core.labeling.trial import fit_quality, scored_by_class, scored_by_model
from mal_core.labeling.upright import upright_outcomes
from mal_core.labeling.views import BoxViews, DrawnMask, Seen, draw_mask, to_label, views_of
from mal_core.models.encoder import normalize
from mal_core.models.labeler import LOGIT_STRIDE, MaskAutoLabeler, Sight
from mal_core.models.precision import computes_in_bf16
from mal_core.processes.progress import Progress
from mal_core.quality.score import default_model, drift_line
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

Crop = tuple[BoxViews, int, NDArray[np.uint8]]
"""A box, and one of its crops at network size, (S, S, 3), with its place among them."""
Report = Callable[[int, int], None]
"""Told how many boxes are done and how many there are."""


class MaskWriter:
    """Turns crops into full-image masks with one network or with both.

    Attributes:
        crowds_as_objects: Crowds are labeled like any other box, as in the reference.
    """

    def __init__(self, labeler: MaskAutoLabeler, config: MalConfig) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.labeler = labeler.to(self.device).eval()
        self.config = config
        self.crowds_as_objects = config.compat_official
        chosen = {"student": ["student"], "teacher": ["teacher"], "both": ["student", "teacher"]}
        self.networks = [getattr(labeler, name) for name in chosen[config.label_network]]
        self.sees_box = self.networks[0].outline_head is not None
        self.bf16 = computes_in_bf16(config.label_precision, self.device)
        self.quality = default_model("labels")

    def prepare(self, _dataset: BoxDataset, _folder: Path) -> None:
        """Nothing: the network has seen all it needs."""

    @torch.inference_mode()
    def logits(
        self, crops_u8: Tensor, boxes_xyxy: Tensor, box_masks: Tensor | None = None
    ) -> Tensor:
        """Mean logits over networks and, with the flip test, over mirror images.

        Args:
            crops_u8: uint8 RGB, shape (B, S, S, 3).
            boxes_xyxy: Shape (B, 4), px of the original image.
            box_masks: As for `see`, shape (B, S/4, S/4).

        Returns:
            Shape (B, S/4, S/4), or (B, S/2, S/2) from the outline head; on the CPU.
        """
        return self.see(crops_u8, boxes_xyxy, box_masks).logits

    @torch.inference_mode()
    def see(self, crops_u8: Tensor, boxes_xyxy: Tensor, box_masks: Tensor | None = None) -> Sight:
        """Means over networks and, with the flip test, over mirror images.

        Args:
            crops_u8: uint8 RGB, shape (B, S, S, 3).
            boxes_xyxy: Shape (B, 4), px of the original image.
            box_masks: Filled boxes in the crops, for the outline head; shape (B, S/4, S/4).

        Returns:
            On the CPU: logits, shape (B, S/4, S/4), or (B, S/2, S/2) from the outline head; those
            of before it, shape (B, S/4, S/4); features, shape (B, E, h, w).
        """
        image = normalize(crops_u8.to(self.device), self.labeler.mean, self.labeler.std)
        boxes = boxes_xyxy.to(self.device)
        masks = None if box_masks is None else box_masks.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            views = [network.see(image, boxes, masks) for network in self.networks]
            if self.config.flip_test:
                mirrored = None if masks is None else masks.flip(2)
                for network in self.networks:
                    seen = network.see(image.flip(3), boxes, mirrored)
                    views.append(Sight(*(values.flip(3) for values in seen)))
        means = [torch.stack(values).float().mean(0).cpu() for values in zip(*views, strict=True)]
        return Sight(means[0].squeeze(1), means[1].squeeze(1), means[2])

    def outcomes(self, photos: Iterable[Photo]) -> Iterator[Outcome]:
        """One outcome per box, photo by photo; boxes of several photos share forward passes."""
        return self.label(self.views(photos))

    def views(self, photos: Iterable[Photo]) -> Iterator[BoxViews]:
        """The boxes of all photos with their crops; each photo is decoded when its turn comes."""
        return chain.from_iterable(map(self._views_of, photos))

    def _views_of(self, photo: Photo) -> Iterator[BoxViews]:
        if self.config.tighten:
            photo = photo.decoded()
            boxes = tuple(grown_boxes(photo, self.see, self.config))
            photo = dataclasses.replace(photo, boxes=boxes)
        return views_of(photo, self.config)

    def features(self, photos: Iterable[Photo]) -> Iterator[NDArray[np.float32]]:
        """What the encoder sees of each box in its widest view, shape (E, h, w)."""
        crops = _crops(self.views(photos), deque(maxlen=0))
        while part := list(islice(crops, self.config.label_batch_size)):
            for seen, (_, place, _) in zip(self._sights(part), part, strict=True):
                if place == 0 and seen.features is not None:
                    yield seen.features

    def label(self, boxes: Iterable[BoxViews]) -> Iterator[Outcome]:
        """One outcome per box, in order."""
        yield from self.settled(
            (drawn, to_label(drawn, self.quality)) for drawn in self.draw(boxes)
        )

    def settled(self, found: Iterable[tuple[DrawnMask, Outcome]]) -> Iterator[Outcome]:
        """Outcomes in order, once masks of a photo gave up what is others' (`settle_overlaps`)."""
        if self.config.settle_overlaps:
            yield from settled(found)
        else:
            yield from (outcome for _, outcome in found)

    def scored(self, dataset: BoxDataset, labels: list[PseudoLabel]) -> list[PseudoLabel]:
        """The labels with scores of a model that was fitted to them, where there are enough."""
        model = fit_quality(dataset, self, labels)
        return labels if model is None else scored_by_model(labels, model)

    def draw(self, boxes: Iterable[BoxViews]) -> Iterator[DrawnMask]:
        """One mask per box, in order, not scored yet; some are empty.

        Takes boxes from the iterable only as forward passes need them, so that no more
        crops exist than fit into one, however many boxes a photo has.
        """
        waiting: deque[BoxViews] = deque()
        sights: deque[Seen] = deque()
        crops = _crops(boxes, waiting)
        while part := list(islice(crops, self.config.label_batch_size)):
            sights.extend(self._sights(part))
            part.clear()  # or its crops would stay while those of the next pass are cut
            # The views of the last box may go on in the next pass.
            while waiting and len(waiting[0].views) <= len(sights):
                item = waiting.popleft()
                own = [sights.popleft() for _ in item.views]
                yield draw_mask(item, own, self.config)

    def _sights(self, part: Sequence[Crop]) -> Iterator[Seen]:
        owners = [item.annotation for item, _, _ in part]
        pixels, boxes_xyxy = _batch(owners, [crop for _, _, crop in part])
        familiar = self.labeler.familiar
        logits, unaware, features = self.see(pixels, boxes_xyxy, self._box_masks(part))
        for own, before, tokens in zip(
            logits.numpy(), unaware.numpy(), features.numpy(), strict=True
        ):
            yield Seen(
                logits=own,
                unaware=before if self.sees_box else None,
                features=tokens,
                unlike=None if familiar is None else familiar.unlikeness(tokens),
            )

    def _box_masks(self, part: Sequence[Crop]) -> Tensor | None:
        """What the outline head is told, (B, S/4, S/4), where there is one."""
        if not self.sees_box:
            return None
        filled = [
            box_mask_in_crop(
                np.array(item.annotation.box_xyxy),
                item.views[place].crop_xyxy,
                len(crop) // LOGIT_STRIDE,
            )
            for item, place, crop in part
        ]
        return torch.from_numpy(np.stack(filled))


def _batch(
    owners: Sequence[BoxAnnotation], crops: Sequence[NDArray[np.uint8]]
) -> tuple[Tensor, Tensor]:
    """Crops, shape (B, S, S, 3), and the boxes they were cut for, shape (B, 4)."""
    boxes_xyxy = torch.tensor([annotation.box_xyxy for annotation in owners])
    return torch.from_numpy(np.stack(crops)), boxes_xyxy


def _crops(boxes: Iterable[BoxViews], waiting: deque[BoxViews]) -> Iterator[Crop]:
    """The crops of all boxes, one by one; a box waits for its mask from its first crop on."""
    for item in boxes:
        waiting.append(item)
        for place, view in enumerate(item.views):
            yield item, place, view.crop


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
