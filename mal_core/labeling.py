"""Write a mask for every box: one decode per photo, paste and encode inside the crop."""

import dataclasses
import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mal_core.artifacts import append_jsonl
from mal_core.config import MalConfig
from mal_core.data.crops import resize_crop, wrap_crop
from mal_core.data.images import load_image
from mal_core.data.pseudo_labels import write_pseudo_labels
from mal_core.geometry import expand_box, fixed_margins, pixel_box
from mal_core.models import MaskAutoLabeler
from mal_core.models.encoder import normalize
from mal_core.progress import Progress
from mal_core.rle import crop_mask_to_rle
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
Outcome = PseudoLabel | SkippedBox


@dataclass(frozen=True, kw_only=True, slots=True)
class _LabelCrop:
    """A crop waiting for its mask; `crop` is uint8 RGB (S, S, 3)."""

    annotation: BoxAnnotation
    record: ImageRecord
    crop_xyxy: NDArray[np.int64]
    crop: NDArray[np.uint8]


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

    def label(self, crops: Sequence[_LabelCrop]) -> list[Outcome]:
        """One outcome per crop, in order."""
        outcomes: list[Outcome] = []
        for start in range(0, len(crops), self.config.label_batch_size):
            part = crops[start : start + self.config.label_batch_size]
            pixels = torch.from_numpy(np.stack([item.crop for item in part]))
            boxes = torch.tensor([item.annotation.box_xyxy for item in part])
            for item, logits in zip(part, self.logits(pixels, boxes).numpy(), strict=True):
                outcomes.append(self._outcome(item, logits))
        return outcomes

    def _outcome(self, item: _LabelCrop, logits: NDArray[np.float32]) -> Outcome:
        """Resize to the crop's own pixels, cut to box and image, threshold, encode (spec 6)."""
        annotation, record = item.annotation, item.record
        prob = resize_probabilities(logits, item.crop_xyxy)
        box = pixel_box(np.array(annotation.box_xyxy), record.height, record.width)
        x0, y0 = int(item.crop_xyxy[0]), int(item.crop_xyxy[1])
        inside = prob[box[1] - y0 : box[3] - y0, box[0] - x0 : box[2] - x0]
        mask = inside > self.config.mask_threshold
        area = int(np.count_nonzero(mask))
        if area == 0:
            return SkippedBox(
                annotation_id=annotation.annotation_id,
                image_id=annotation.image_id,
                reason=SkipReason.EMPTY_MASK,
            )
        return PseudoLabel(
            annotation_id=annotation.annotation_id,
            rle=crop_mask_to_rle(mask, (box[0], box[1]), record.height, record.width),
            mask_area=area,
            score=round(float(inside[mask].mean()), 6),
        )


def resize_probabilities(
    logits: NDArray[np.float32], crop_xyxy: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Logits (G, G) of a crop -> probabilities at the crop's size in image px.

    Enlarging interpolates logits; shrinking averages probabilities, so that no
    thin part is stepped over.
    """
    width, height = (int(value) for value in crop_xyxy[2:] - crop_xyxy[:2])
    side = logits.shape[0]
    if width < side and height < side:
        return cv2.resize(_sigmoid(logits), (width, height), interpolation=cv2.INTER_AREA)
    return _sigmoid(cv2.resize(logits, (width, height), interpolation=cv2.INTER_LINEAR))


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float32)


def _cut_crops(
    record: ImageRecord, boxes: Iterable[BoxAnnotation], image_root: Path, config: MalConfig
) -> Iterator[_LabelCrop]:
    image = load_image(image_root / record.file_name)
    for annotation in boxes:
        box = np.array(annotation.box_xyxy)
        crop_xyxy = expand_box(box, fixed_margins(config.test_expansion))
        crop = resize_crop(wrap_crop(image, crop_xyxy), config.crop_size)
        yield _LabelCrop(annotation=annotation, record=record, crop_xyxy=crop_xyxy, crop=crop)


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
    result = write_pseudo_labels(source, labels, [*dataset.skipped, *skipped], output, ledger)
    journal.path.unlink()
    logger.info("%s", result.summary())
    return result


def _label_images(
    records: Sequence[ImageRecord],
    boxes_of: dict[int, list[BoxAnnotation]],
    image_root: Path,
    writer: MaskWriter,
) -> Iterator[tuple[int, list[Outcome]]]:
    crops = [
        crop
        for record in records
        for crop in _cut_crops(record, boxes_of[record.image_id], image_root, writer.config)
    ]
    by_image: dict[int, list[Outcome]] = defaultdict(list)
    for crop, outcome in zip(crops, writer.label(crops), strict=True):
        by_image[crop.record.image_id].append(outcome)
    yield from by_image.items()
