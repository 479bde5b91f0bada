"""Plain functions that write tiny COCO datasets with real images; no fixtures, no magic."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from mal_core.data.coco import read_boxes
from mal_core.errors import DatasetError
from mal_core.types import BoxDataset

WIDTH, HEIGHT = 64, 48
CATEGORIES = ({"id": 3, "name": "disc"}, {"id": 90, "name": "slab"})
COLOURS = {3: (220, 60, 40), 90: (40, 90, 220)}
Annotation = dict[str, Any]


@dataclass(frozen=True)
class CocoFiles:
    """A dataset on disk: folder of images and annotation file."""

    images: Path
    annotations: Path

    def content(self) -> dict[str, Any]:
        """The JSON as it is on disk now."""
        return dict(json.loads(self.annotations.read_text()))

    def rewrite(self, content: object) -> None:
        """Replace the JSON; NaN and infinities are written as Python writes them."""
        self.annotations.write_text(json.dumps(content))

    def read(self, *, strict: bool = False, decode: bool = False) -> BoxDataset:
        """Read it as phase 1 does."""
        return read_boxes(self.images, self.annotations, strict=strict, decode=decode)


def draw_image(path: Path, shapes: list[tuple[int, list[float]]], seed: int = 0) -> None:
    """Coloured shapes on mildly textured ground, WIDTH x HEIGHT px."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(110, 140, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    pen = ImageDraw.Draw(image)
    for category_id, (x, y, width, height) in shapes:
        draw = pen.ellipse if category_id == 3 else pen.rectangle
        draw([x, y, x + width - 1, y + height - 1], fill=COLOURS[category_id])
    image.save(path)


def shape_mask(category_id: int, box_xywh: list[float]) -> NDArray[np.uint8]:
    """The mask (HEIGHT, WIDTH) of a shape drawn by `draw_image`."""
    canvas = Image.new("L", (WIDTH, HEIGHT))
    x, y, width, height = box_xywh
    pen = ImageDraw.Draw(canvas)
    draw = pen.ellipse if category_id == 3 else pen.rectangle
    draw([x, y, x + width - 1, y + height - 1], fill=1)
    return np.asarray(canvas)


def encode(mask: NDArray[np.uint8]) -> dict[str, Any]:
    """RLE with str counts."""
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


def annotation(
    annotation_id: int, image_id: int, category_id: int, box_xywh: list[float], **extra: Any
) -> Annotation:
    """An annotation with the true mask of its shape."""
    mask = shape_mask(category_id, box_xywh)
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": box_xywh,
        "area": int(mask.sum()),
        "iscrowd": 0,
        "segmentation": encode(mask),
        **extra,
    }


def write_coco(
    folder: Path, *, num_images: int = 3, name: str = "train", with_crowd: bool = False
) -> CocoFiles:
    """Two shapes per image, ids with gaps, extra fields everywhere; a crowd on request."""
    annotations: list[Annotation] = []
    images = []
    for index in range(num_images):
        image_id = 10 * (index + 1)
        boxes: list[tuple[int, list[float]]] = [
            (3, [4, 5 + index, 20, 16]),
            (90, [34, 10, 22, 20 + index]),
        ]
        draw_image(folder / "images" / name / f"{index}.png", boxes, seed=index)
        images.append(
            {
                "id": image_id,
                "file_name": f"{name}/{index}.png",
                "width": WIDTH,
                "height": HEIGHT,
                "license": 4,
                "shot": {"by": "A"},
            }
        )
        annotations += [
            annotation(100 * image_id + number, image_id, category, box, note=f"n{number}")
            for number, (category, box) in enumerate(boxes)
        ]
    if with_crowd:
        rle = {"size": [HEIGHT, WIDTH], "counts": [100, 50, WIDTH * HEIGHT - 150]}
        crowd = annotation(7, 10, 3, [2, 4, 2, 46], iscrowd=1, segmentation=rle, area=50.5)
        annotations.insert(1, crowd)
    files = CocoFiles(images=folder / "images", annotations=folder / f"{name}.json")
    files.rewrite(
        {
            "info": {"year": 2026, "description": "drawn \u00e9"},
            "licenses": [{"id": 4, "name": "by"}],
            "images": images,
            "annotations": annotations,
            "categories": copy.deepcopy(CATEGORIES),
            "kept": [1, None, {"a": 1.5}],
        }
    )
    return files


def without_masks(files: CocoFiles, target: Path) -> CocoFiles:
    """The same dataset with boxes only."""
    content = files.content()
    for entry in content["annotations"]:
        entry.pop("segmentation")
        entry.pop("area")
    boxes = CocoFiles(images=files.images, annotations=target)
    boxes.rewrite(content)
    return boxes


def change_coco(files: CocoFiles, change: Callable[[dict[str, Any]], object]) -> CocoFiles:
    """Rewrite the annotation file after `change` was applied to its content."""
    content = files.content()
    change(content)
    files.rewrite(content)
    return files


def problems_of(files: CocoFiles, *, strict: bool = False) -> list[str]:
    """What the reader refuses the dataset for; fails when it does not."""
    with pytest.raises(DatasetError) as caught:
        files.read(strict=strict)
    assert caught.value.path == files.annotations
    assert str(files.annotations) in str(caught.value)
    return list(caught.value.problems)
