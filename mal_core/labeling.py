"""Write a mask for every box: one decode per photo, paste and encode inside the crop."""

import dataclasses
import json
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mal_core.artifacts import append_jsonl
from mal_core.config import MalConfig
from mal_core.data.pseudo_labels import write_pseudo_labels
from mal_core.label_views import BoxViews, Outcome, cut_views, logits_to_label
from mal_core.models import MaskAutoLabeler
from mal_core.models.encoder import normalize
from mal_core.progress import Progress
from mal_core.types import (
    BoxAnnotation,
    BoxDataset,
    ImageRecord,
    PseudoLabel,
    PseudoLabelSet,
    SkippedBox,
    SkipReason,
)

logger = logging.getLogger(__name__)

IMAGES_PER_BATCH = 8
"""Photos whose boxes share forward passes; bounds memory, not results."""


class MaskWriter:
    """Turns crops into full-image masks with one network or with both."""

    def __init__(self, labeler: MaskAutoLabeler, config: MalConfig) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.labeler = labeler.to(self.device).eval()
        self.config = config
        chosen = {"student": ["student"], "teacher": ["teacher"], "both": ["student", "teacher"]}
        self.networks = [getattr(labeler, name) for name in chosen[config.label_network]]

    @torch.inference_mode()
    def logits(self, crops_u8: Tensor, boxes_xyxy: Tensor) -> Tensor:
        """Mean logits over networks and, with the flip test, over mirror images.

        Args:
            crops_u8: uint8 RGB, shape (B, S, S, 3).
            boxes_xyxy: Shape (B, 4), px of the original image.

        Returns:
            Shape (B, S/4, S/4), on the CPU.
        """
        image = normalize(crops_u8.to(self.device), self.labeler.mean, self.labeler.std)
        boxes = boxes_xyxy.to(self.device)
        views = [network(image, boxes) for network in self.networks]
        if self.config.flip_test:
            views += [network(image.flip(3), boxes).flip(3) for network in self.networks]
        return torch.stack(views).mean(0).squeeze(1).float().cpu()

    def label(self, boxes: Sequence[BoxViews]) -> list[Outcome]:
        """One outcome per box, in order."""
        crops = [(item.annotation, view.crop) for item in boxes for view in item.views]
        logits: list[NDArray[np.float32]] = []
        for start in range(0, len(crops), self.config.label_batch_size):
            part = crops[start : start + self.config.label_batch_size]
            pixels = torch.from_numpy(np.stack([crop for _, crop in part]))
            boxes_xyxy = torch.tensor([annotation.box_xyxy for annotation, _ in part])
            logits.extend(self.logits(pixels, boxes_xyxy).numpy())
        in_order = iter(logits)
        return [
            logits_to_label(item, [next(in_order) for _ in item.views], self.config)
            for item in boxes
        ]


class LabelJournal:
    """Finished images on disk, one JSON line each, so that a killed run continues.

    A line that a kill cut short is dropped and its images are labeled again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outcomes: dict[int, list[Outcome]] = {}
        complete: list[str] = []
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                break
            self.outcomes[entry["image_id"]] = [
                *(PseudoLabel(**label) for label in entry["labels"]),
                *(_skipped(skip) for skip in entry["skipped"]),
            ]
            complete.append(line)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in complete))

    def add(self, image_id: int, outcomes: list[Outcome]) -> None:
        """Store the outcomes of one image."""
        labels = [dataclasses.asdict(o) for o in outcomes if isinstance(o, PseudoLabel)]
        skipped = [dataclasses.asdict(o) for o in outcomes if isinstance(o, SkippedBox)]
        entry = {"image_id": image_id, "labels": labels, "skipped": skipped}
        append_jsonl(self.path, entry)
        self.outcomes[image_id] = outcomes


def _skipped(entry: dict[str, object]) -> SkippedBox:
    return SkippedBox(
        annotation_id=int(str(entry["annotation_id"])),
        image_id=int(str(entry["image_id"])),
        reason=SkipReason(str(entry["reason"])),
    )


def generate_pseudo_labels(
    dataset: BoxDataset,
    labeler: MaskAutoLabeler,
    config: MalConfig,
    *,
    source: Path,
    output: Path,
    ledger: Path,
) -> PseudoLabelSet:
    """Label every box of a dataset and write the pseudo-label file.

    Args:
        dataset: Boxes to label.
        labeler: Trained networks.
        config: How to label; the network's own shape comes with `labeler`.
        source: COCO file whose fields are kept; its masks are not read.
        output: Receives the labeled COCO file.
        ledger: Receives the skipped boxes with reasons.

    Returns:
        The accounting, already checked: boxes in = masks + crowds + skipped.

    Raises:
        LabelingError: The accounting does not add up.
    """
    journal = LabelJournal(output.with_name(f"{output.name}.journal.jsonl"))
    boxes_of: dict[int, list[BoxAnnotation]] = defaultdict(list)
    for annotation in dataset.boxes:
        boxes_of[annotation.image_id].append(annotation)
    waiting = [
        record
        for record in dataset.images
        if record.image_id in boxes_of and record.image_id not in journal.outcomes
    ]
    writer = MaskWriter(labeler, config)
    done = sum(len(boxes_of[image_id]) for image_id in journal.outcomes)
    with Progress("label boxes", len(dataset.boxes), done) as progress:
        for start in range(0, len(waiting), IMAGES_PER_BATCH):
            for image_id, outcomes in _label_images(
                waiting[start : start + IMAGES_PER_BATCH], boxes_of, dataset.image_root, writer
            ):
                journal.add(image_id, outcomes)
                done += len(outcomes)
            progress.update(done)
    everything = [outcome for outcomes in journal.outcomes.values() for outcome in outcomes]
    labels = [outcome for outcome in everything if isinstance(outcome, PseudoLabel)]
    skipped = [outcome for outcome in everything if isinstance(outcome, SkippedBox)]
    skipped = [*dataset.skipped, *skipped]
    compat = config.compat_official
    result = write_pseudo_labels(source, labels, skipped, output, ledger, compat_official=compat)
    journal.path.unlink()
    logger.info("%s", result.summary())
    return result


def _label_images(
    records: Sequence[ImageRecord],
    boxes_of: dict[int, list[BoxAnnotation]],
    image_root: Path,
    writer: MaskWriter,
) -> Iterator[tuple[int, list[Outcome]]]:
    waiting = [
        box
        for record in records
        for box in cut_views(record, boxes_of[record.image_id], image_root, writer.config)
    ]
    by_image: dict[int, list[Outcome]] = defaultdict(list)
    for box, outcome in zip(waiting, writer.label(waiting), strict=True):
        by_image[box.record.image_id].append(outcome)
    yield from by_image.items()
