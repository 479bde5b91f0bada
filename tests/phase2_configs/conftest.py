"""Tiny drawn scenes with two annotation files that differ in their masks only."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

SIZE = 96
CATEGORIES = [{"id": 3, "name": "disc"}, {"id": 7, "name": "slab"}]
COLORS = {3: (230, 60, 40), 7: (40, 80, 230)}


@dataclass(frozen=True, kw_only=True)
class DrawnSet:
    images: Path
    human: Path
    pseudo: Path
    val: Path


def _draw(rng: np.random.Generator, shapes: list[tuple[int, list[int]]]) -> Image.Image:
    ground = rng.integers(90, 150, (SIZE, SIZE, 3), dtype=np.uint8)
    image = Image.fromarray(ground)
    pen = ImageDraw.Draw(image)
    for category, box in shapes:
        draw = pen.ellipse if category == 3 else pen.rectangle
        draw(box, fill=COLORS[category])
    return image


def _mask(category: int, box: list[int], shrink: int = 0) -> np.ndarray:
    canvas = Image.new("L", (SIZE, SIZE))
    pen = ImageDraw.Draw(canvas)
    x0, y0, x1, y1 = box
    box = [x0 + shrink, y0 + shrink, x1 - shrink, y1 - shrink]
    (pen.ellipse if category == 3 else pen.rectangle)(box, fill=1)
    return np.asarray(canvas)


def _rle(mask: np.ndarray) -> dict:
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def _annotation(key: int, image_id: int, category: int, box: list[int], shrink: int) -> dict:
    mask = _mask(category, box, shrink)
    x0, y0, x1, y1 = box
    return {
        "id": key,
        "image_id": image_id,
        "category_id": category,
        "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1],
        "area": int(mask.sum()),
        "iscrowd": 0,
        "segmentation": _polygons(category, box, shrink) or _rle(mask),
    }


def _polygons(category: int, box: list[int], shrink: int) -> list[list[int]] | None:
    """Slabs are stored as polygons, the rest as RLE: files mix both."""
    if category != 7:
        return None
    x0, y0, x1, y1 = (v + s for v, s in zip(box, (shrink, shrink, -shrink, -shrink), strict=True))
    return [[x0, y0, x1 + 1, y0, x1 + 1, y1 + 1, x0, y1 + 1]]


def _crowd(key: int) -> dict:
    counts = [0, SIZE * 4, SIZE * SIZE - SIZE * 4]
    return {
        "id": key,
        "image_id": 1,
        "category_id": 3,
        "bbox": [0, 0, 4, SIZE],
        "area": 4 * SIZE,
        "iscrowd": 1,
        "segmentation": {"size": [SIZE, SIZE], "counts": counts},
    }


def _scene(rng: np.random.Generator) -> list[tuple[int, list[int]]]:
    boxes = []
    for left in (4, 52):
        width, height = rng.integers(22, 40, 2)
        top = int(rng.integers(4, SIZE - 44))
        boxes.append((int(rng.choice([3, 7])), [left, top, left + int(width), top + int(height)]))
    return boxes


def draw_set(folder: Path, num_train: int = 8, num_val: int = 4) -> DrawnSet:
    """Draw scenes; the pseudo file has the same boxes and masks 2 px thinner all around."""
    rng = np.random.default_rng(0)
    images = folder / "images"
    images.mkdir(parents=True)
    files = {}
    for split, count, shrinks in (
        ("train", num_train, {"human": 0, "pseudo": 2}),
        ("val", num_val, {"val": 0}),
    ):
        scenes = [_scene(rng) for _ in range(count)]
        records = []
        for index, scene in enumerate(scenes, 1):
            name = f"{split}_{index}.png"
            _draw(rng, scene).save(images / name)
            records.append({"id": index, "file_name": name, "height": SIZE, "width": SIZE})
        for name, shrink in shrinks.items():
            shapes = [(i, *shape) for i, scene in enumerate(scenes, 1) for shape in scene]
            annotations = [
                _annotation(key, image_id, category, box, shrink)
                for key, (image_id, category, box) in enumerate(shapes, 1)
            ]
            if split == "train":
                annotations.append(_crowd(len(annotations) + 1))
            content = {"images": records, "annotations": annotations, "categories": CATEGORIES}
            files[name] = folder / f"{name}.json"
            files[name].write_text(json.dumps(content))
    return DrawnSet(images=images, **files)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> DrawnSet:
    return draw_set(tmp_path_factory.mktemp("drawn"))
