"""Tiny drawn datasets for phase 1: ellipses of one colour on ground of another."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mal_core.config import EncoderConfig, MalConfig
from mal_core.labeling.protocol import Photo
from mal_core.labeling.views import BoxViews, views_of
from mal_core.types import BoxAnnotation, BoxDataset, Category, ImageRecord

SIDE = 96
TINY_ENCODER = EncoderConfig(
    name="vit_tiny_patch16_224",
    options={"embed_dim": 48, "depth": 2, "num_heads": 3, "patch_size": 8},
    drop_path=0.1,
)


def tiny_mal(**changes: object) -> MalConfig:
    """Settings that train in a second."""
    settings: dict[str, object] = {
        "crop_size": 64,
        "batch_size": 4,
        "max_steps": 12,
        "learning_rate": 1e-3,
        "head_channels": 16,
        "head_convs": 2,
        "num_workers": 0,
        "checkpoint_every": 4,
        "scale_adjustment": False,
    }
    return MalConfig(**{**settings, **changes})


def cut_views(
    record: ImageRecord, boxes: Iterable[BoxAnnotation], image_root: Path, config: MalConfig
) -> Iterator[BoxViews]:
    """Decode a photo and cut every view of these boxes from it."""
    yield from views_of(Photo(record=record, boxes=tuple(boxes), source=image_root), config)


def draw_ellipses(
    folder: Path, num_images: int, seed: int = 0
) -> tuple[BoxDataset, dict[int, NDArray[np.uint8]]]:
    """One ellipse per image; returns the boxes and the mask (H, W) of each annotation id."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    images, boxes, gt_masks = [], [], {}
    for index in range(num_images):
        ground, colour = generator.integers(0, 255, (2, 3))
        image = np.full((SIDE, SIDE, 3), ground, np.uint8)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        centre = generator.integers(36, 60, 2)
        axes = generator.integers(10, 30, 2)
        tilt = int(generator.integers(180))
        cv2.ellipse(mask, centre.tolist(), axes.tolist(), tilt, 0, 360, 1, -1)
        image[mask > 0] = colour
        cv2.imwrite(str(folder / f"{index}.png"), image[..., ::-1])
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = tuple(float(v) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
        images.append(
            ImageRecord(image_id=index, file_name=f"{index}.png", height=SIDE, width=SIDE)
        )
        annotation_id = 100 + index
        boxes.append(
            BoxAnnotation(annotation_id=annotation_id, image_id=index, category_id=1, box_xyxy=box)
        )
        gt_masks[annotation_id] = mask
    dataset = BoxDataset(
        annotations_path=folder / "none.json",
        image_root=folder,
        categories=(Category(category_id=1, name="ellipse"),),
        images=tuple(images),
        boxes=tuple(boxes),
        skipped=(),
        num_crowds=0,
        num_clipped=0,
    )
    return dataset, gt_masks
