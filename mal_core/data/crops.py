"""One sample per box: an expanded crop in two views and its box mask.

Shape letters: B crops, S crop side, G = S/4 side of the logit grid.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from torch import Tensor
from torch.utils.data import Dataset

from mal_core.config import MalConfig
from mal_core.data.images.augment import augment_colors
from mal_core.data.images.loading import decoded_smaller, load_image
from mal_core.geometry.boxes import box_mask_in_crop, expand_box, sample_margins
from mal_core.geometry.rotated import Turn
from mal_core.types import BoxAnnotation, BoxDataset, Rle

Image = NDArray[np.uint8]
Grid = NDArray[np.float32]

LOGIT_STRIDE = 4
REDUCTIONS = (8, 4, 2)
TARGET_STRIDE = 2
"""Crop pixels per cell of a target."""
CACHED_BYTES = 256 << 20
"""Decoded photos a data worker may keep; small datasets are then decoded once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxCropBatch:
    """Crops of B boxes.

    Attributes:
        image: Student's augmented view, uint8 RGB, (B, S, S, 3).
        teacher_image: Clean view with the same geometry, uint8 RGB, (B, S, S, 3).
        box_mask: Filled box on the logit grid, float32 in [0, 1], (B, G, G).
        boxes_xyxy: Boxes in px of the original image, float32, (B, 4).
        target: Share of each cell that the label so far covers, float32 in [0, 1],
            (B, S/2, S/2); None while only boxes are known.
    """

    image: Tensor
    teacher_image: Tensor
    box_mask: Tensor
    boxes_xyxy: Tensor
    target: Tensor | None = None


def wrap_crop(image: Image, crop_xyxy: NDArray[np.int64]) -> Image:
    """Cut a crop; pixels outside the image come from its opposite side.

    A constant border would have the colour of no object and mislead the colour
    affinity of the CRF loss (spec 2.4). Any overhang is possible.

    Args:
        image: RGB, uint8, shape (H, W, 3).
        crop_xyxy: Integer crop box in px, half-open, may leave the image, shape (4,).

    Returns:
        RGB, uint8, shape (y1 - y0, x1 - x0, 3).
    """
    height, width = image.shape[:2]
    x0, y0, x1, y1 = (int(value) for value in crop_xyxy)
    if x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height:
        return image[y0:y1, x0:x1]
    rows = np.arange(y0, y1) % height
    columns = np.arange(x0, x1) % width
    return image.take(rows, axis=0).take(columns, axis=1)


def resize_crop(crop: Image, side: int) -> Image:
    """Resize to side x side without keeping the aspect ratio (spec 2.5).

    Enlarging is bilinear: half the time of the reference's bicubic filter, and the
    network sees the same filter in training and in labeling.

    Args:
        crop: RGB, uint8, shape (H, W, 3).
        side: S, px.

    Returns:
        RGB, uint8, shape (S, S, 3).
    """
    return cv2.resize(np.ascontiguousarray(crop), (side, side), interpolation=_filter(crop, side))


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """How a photo is decoded for one crop.

    Attributes:
        reduction: 1, 2, 4 or 8: how many times fewer rows and columns.
        crop_xyxy: The crop, its edges on pixels of the reduced photo, in px of the whole one.
    """

    reduction: int
    crop_xyxy: NDArray[np.int64]


def decoding_for(crop_xyxy: NDArray[np.int64], size: tuple[int, int], side: int) -> Decoding:
    """As small as a photo may be decoded for a crop that is shrunk to `side` anyway.

    Depends on the crop alone, not on what was decoded before: a resumed run sees the same
    pixels. Where a crop leaves the photo it wraps around, and the sides of the photo must divide
    evenly then, as those of cameras do.

    Args:
        crop_xyxy: Integer crop box in px, half-open, shape (4,).
        size: Height and width of the photo in px.
        side: S, px; the crop keeps at least as many rows and columns.
    """
    low, high = crop_xyxy[:2], crop_xyxy[2:]
    limits = np.array(size[::-1])
    spare = int((high - low).min()) // side
    for reduction in REDUCTIONS:
        start, end = low // reduction * reduction, -(-high // reduction) * reduction
        even = not (limits % reduction).any()
        inside = bool((start >= 0).all() and (end <= limits).all())
        if reduction <= spare and (even or inside):
            return Decoding(reduction=reduction, crop_xyxy=np.concatenate([start, end]))
    return Decoding(reduction=1, crop_xyxy=crop_xyxy)


def resize_mask(mask: NDArray[np.uint8], side: int) -> Grid:
    """The share of each cell that a mask covers: 0/1, shape (H, W) -> float32 (side, side)."""
    values = np.ascontiguousarray(mask, dtype=np.float32)
    return np.asarray(cv2.resize(values, (side, side), interpolation=_filter(mask, side)))


def _filter(image: Image, side: int) -> int:
    """Averages where both sides shrink, else interpolates."""
    shrinks = image.shape[0] > side and image.shape[1] > side
    return cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR


class ImageCache:
    """Loads photos; keeps the most recent ones up to a number of bytes."""

    def __init__(self, max_bytes: int = CACHED_BYTES) -> None:
        self.max_bytes = max_bytes
        self._images: OrderedDict[tuple[Path, int], Image] = OrderedDict()
        self._bytes = 0

    def load(self, path: Path, reduction: int = 1) -> Image:
        """RGB, uint8, shape (H, W, 3). Callers must not write to it."""
        key = path, reduction
        if key in self._images:
            self._images.move_to_end(key)
            return self._images[key]
        image = load_image(path, reduction)
        self._images[key] = image
        self._bytes += image.nbytes
        while self._bytes > self.max_bytes:
            _, oldest = self._images.popitem(last=False)
            self._bytes -= oldest.nbytes
        return image


class TrainBatches(Dataset[BoxCropBatch]):
    """The batch of every training step, as a function of the seed and the step alone.

    Nothing depends on what was loaded before or on which worker loads it, so a
    resumed run sees exactly the batches that an uninterrupted one sees.

    With `labels`, masks by annotation id, batches carry targets, and only boxes with a label
    are drawn; `first`, the first crop of a round, begins an epoch, so that every one of them is
    seen before one is seen again.
    """

    def __init__(
        self,
        dataset: BoxDataset,
        config: MalConfig,
        seed: int,
        labels: Mapping[int, Rle] | None = None,
        *,
        first: int = 0,
    ) -> None:
        self.boxes = trainable_boxes(dataset, config)
        self.records = {record.image_id: record for record in dataset.images}
        self.image_root = dataset.image_root
        self.labels = labels
        if labels is not None:
            self.boxes = [box for box in self.boxes if box.annotation_id in labels]
        self.config = config
        self.seed = seed
        self.first = first
        self._cache = ImageCache()
        self._order: tuple[int, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        """Number of steps."""
        return self.config.total_steps

    def __getitem__(self, step: int) -> BoxCropBatch:
        """The batch of one step."""
        first = step * self.config.batch_size
        samples = [self._sample(first + i) for i in range(self.config.batch_size)]
        images, teacher_images, box_masks, boxes, targets = zip(*samples, strict=True)
        return BoxCropBatch(
            image=torch.from_numpy(np.stack(images)),
            teacher_image=torch.from_numpy(np.stack(teacher_images)),
            box_mask=torch.from_numpy(np.stack(box_masks)),
            boxes_xyxy=torch.tensor(boxes, dtype=torch.float32),
            target=None if self.labels is None else torch.from_numpy(np.stack(targets)),
        )

    def _box_at(self, position: int) -> BoxAnnotation:
        """The box at a position of the endless sequence of shuffled epochs."""
        epoch, index = divmod(position - self.first, len(self.boxes))
        if self._order is None or self._order[0] != epoch:
            generator = np.random.default_rng([self.seed, 0, epoch, self.first])
            self._order = epoch, generator.permutation(len(self.boxes))
        return self.boxes[self._order[1][index]]

    def _sample(
        self, position: int
    ) -> tuple[Image, Image, Grid, tuple[float, float, float, float], Grid | None]:
        annotation = self._box_at(position)
        generator = np.random.default_rng([self.seed, 1, position])
        record = self.records[annotation.image_id]
        corners = annotation.corners
        turn = None if corners is None else Turn.within(corners, record.size)
        box = np.array(annotation.box_xyxy) if turn is None else turn.box_xyxy
        crop_box = expand_box(box, sample_margins(generator, self.config.box_expansion))
        side = self.config.crop_size
        path = self.image_root / record.file_name
        decoding = Decoding(reduction=1, crop_xyxy=crop_box)
        if turn is None and decoded_smaller(path) and not self.config.compat_official:
            decoding = decoding_for(crop_box, (record.height, record.width), side)
        crop_box = decoding.crop_xyxy
        image = self._cache.load(path, decoding.reduction)
        clean = resize_crop(_cut(image, crop_box // decoding.reduction, turn), side)
        wraps = self.config.compat_official and turn is None
        period = (image.shape[1], image.shape[0]) if wraps else None
        box_mask = box_mask_in_crop(box, crop_box, side // LOGIT_STRIDE, period=period)
        target = self._target(annotation, crop_box, turn)
        if generator.random() < 0.5:
            clean = np.asarray(cv2.flip(clean, 1))
            box_mask = np.ascontiguousarray(box_mask[:, ::-1])
            target = None if target is None else np.ascontiguousarray(target[:, ::-1])
        x0, y0, x1, y1 = box.tolist()
        return augment_colors(clean, generator), clean, box_mask, (x0, y0, x1, y1), target

    def _target(
        self, annotation: BoxAnnotation, crop_box: NDArray[np.int64], turn: Turn | None
    ) -> Grid | None:
        """The label so far on the grid of the outline head, (S/2, S/2)."""
        if self.labels is None:
            return None
        mask = coco_mask.decode(self.labels[annotation.annotation_id])
        return resize_mask(_cut(mask, crop_box, turn), self.config.crop_size // TARGET_STRIDE)


def _cut(image: Image, crop_xyxy: NDArray[np.int64], turn: Turn | None) -> Image:
    """A crop of a photo, along the axes of a rotated box if there is one."""
    return wrap_crop(image, crop_xyxy) if turn is None else turn.cut(image, crop_xyxy)


def trainable_boxes(dataset: BoxDataset, config: MalConfig) -> Sequence[BoxAnnotation]:
    """The boxes whose area lies in [min_box_area, max_box_area) px^2."""
    low, high = config.min_box_area, config.max_box_area
    return [box for box in dataset.boxes if low <= box.area < high]
