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
from mal_core.refinement import refine_logits
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
SMALLEST_PROBABILITY = 1e-6
Outcome = PseudoLabel | SkippedBox
PixelBox = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class _View:
    """One crop of a box as the network sees it.

    Attributes:
        crop_xyxy: Crop box in px of the image, may leave it.
        crop: The crop at network size, uint8 RGB, (S, S, 3).
    """

    crop_xyxy: NDArray[np.int64]
    crop: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class _WaitingBox:
    """A box waiting for its mask: its views, the widest one first, and its photo."""

    annotation: BoxAnnotation
    record: ImageRecord
    image: NDArray[np.uint8]
    views: tuple[_View, ...]


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

    def label(self, boxes: Sequence[_WaitingBox]) -> list[Outcome]:
        """One outcome per box, in order."""
        crops = [(item.annotation, view.crop) for item in boxes for view in item.views]
        logits: list[NDArray[np.float32]] = []
        for start in range(0, len(crops), self.config.label_batch_size):
            part = crops[start : start + self.config.label_batch_size]
            pixels = torch.from_numpy(np.stack([crop for _, crop in part]))
            boxes_xyxy = torch.tensor([annotation.box_xyxy for annotation, _ in part])
            logits.extend(self.logits(pixels, boxes_xyxy).numpy())
        in_order = iter(logits)
        return [self._outcome(item, [next(in_order) for _ in item.views]) for item in boxes]

    def _outcome(self, item: _WaitingBox, logits: Sequence[NDArray[np.float32]]) -> Outcome:
        """Average views in the box's own pixels, threshold, encode (spec 6)."""
        annotation, record = item.annotation, item.record
        box = pixel_box(np.array(annotation.box_xyxy), record.height, record.width)
        in_box = [
            _cut(resize_logits(values, view.crop_xyxy), view.crop_xyxy, box)
            for values, view in zip(logits, item.views, strict=True)
        ]
        mean = np.asarray(np.mean(in_box, axis=0, dtype=np.float32))
        if self.config.refinement.enabled:
            mean = self._refine(item, mean, box)
        prob = _sigmoid(mean)
        mask = prob > self.config.mask_threshold
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
            score=round(float(prob[mask].mean()), 6),
        )

    def _refine(
        self, item: _WaitingBox, logits: NDArray[np.float32], box: PixelBox
    ) -> NDArray[np.float32]:
        """Let the colors of the widest view speak; logits of the box in, logits of the box out."""
        height, width = item.record.height, item.record.width
        x0, y0, x1, y1 = item.views[0].crop_xyxy.clip(0, [width, height, width, height])
        inside = np.zeros((y1 - y0, x1 - x0), dtype=bool)
        around = np.zeros(inside.shape, dtype=np.float32)
        rows, columns = slice(box[1] - y0, box[3] - y0), slice(box[0] - x0, box[2] - x0)
        inside[rows, columns] = True
        around[rows, columns] = logits
        pixels = np.ascontiguousarray(item.image[y0:y1, x0:x1])
        return refine_logits(pixels, around, inside, self.config.refinement)[rows, columns]


def resize_logits(logits: NDArray[np.float32], crop_xyxy: NDArray[np.int64]) -> NDArray[np.float32]:
    """Logits (G, G) of a crop -> logits at the crop's size in image px.

    Enlarging interpolates logits; shrinking averages probabilities, so that no
    thin part is stepped over.
    """
    width, height = (int(value) for value in crop_xyxy[2:] - crop_xyxy[:2])
    side = logits.shape[0]
    if width < side and height < side:
        prob = cv2.resize(_sigmoid(logits), (width, height), interpolation=cv2.INTER_AREA)
        prob = prob.clip(SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
        return np.asarray(np.log(prob / (1 - prob)), dtype=np.float32)
    return np.asarray(cv2.resize(logits, (width, height), interpolation=cv2.INTER_LINEAR))


def _cut(
    values: NDArray[np.float32], crop_xyxy: NDArray[np.int64], box: PixelBox
) -> NDArray[np.float32]:
    """The part of a crop that lies in the box; both in px of the image."""
    x0, y0 = int(crop_xyxy[0]), int(crop_xyxy[1])
    return values[box[1] - y0 : box[3] - y0, box[0] - x0 : box[2] - x0]


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float32)


def _cut_crops(
    record: ImageRecord, boxes: Iterable[BoxAnnotation], image_root: Path, config: MalConfig
) -> Iterator[_WaitingBox]:
    """Decode a photo once and cut every view of every box from it."""
    image = load_image(image_root / record.file_name)
    expansions = sorted({config.test_expansion, *config.extra_expansions}, reverse=True)
    for annotation in boxes:
        box = np.array(annotation.box_xyxy)
        crops_xyxy = [expand_box(box, fixed_margins(expansion)) for expansion in expansions]
        views = tuple(
            _View(
                crop_xyxy=crop_xyxy,
                crop=resize_crop(wrap_crop(image, crop_xyxy), config.crop_size),
            )
            for crop_xyxy in crops_xyxy
        )
        yield _WaitingBox(annotation=annotation, record=record, image=image, views=views)


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
    waiting = [
        box
        for record in records
        for box in _cut_crops(record, boxes_of[record.image_id], image_root, writer.config)
    ]
    by_image: dict[int, list[Outcome]] = defaultdict(list)
    for box, outcome in zip(waiting, writer.label(waiting), strict=True):
        by_image[box.record.image_id].append(outcome)
    yield from by_image.items()
