"""Scenes as COCO datasets on disk: whole or absent, the same bytes for the same seed."""

import json
import secrets
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from scenes.draw import Scene, draw_scene
from scenes.shapes import SHAPES

CATEGORY_IDS = {name: index + 1 for index, name in enumerate(SHAPES)}
CROWD_EVERY = 50
"""Every n-th image declares its first object a crowd, so that crowds are exercised."""


def write_scenes(output: Path, *, num_train: int, num_val: int, size: int, seed: int) -> None:
    """Write `train/` and `val/`, each with `images/` and `annotations.json`.

    The folder appears only when it is complete; an existing one is replaced.

    Args:
        output: Folder of the dataset.
        num_train, num_val: Scenes per split.
        size: Side of the square images, px.
        seed: The same seed gives the same bytes.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    aside = output.with_name(f".{output.name}.{secrets.token_hex(4)}")
    aside.mkdir()
    try:
        write_splits(aside, num_train=num_train, num_val=num_val, size=size, seed=seed)
        shutil.rmtree(output, ignore_errors=True)
        aside.rename(output)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_splits(folder: Path, *, num_train: int, num_val: int, size: int, seed: int) -> None:
    """`write_scenes` into a folder that exists and holds neither split."""
    for index, (split, count) in enumerate((("train", num_train), ("val", num_val))):
        generator = np.random.default_rng([seed, index])
        _write_split(folder / split, generator, count, size, seed)


def _write_split(
    folder: Path, generator: np.random.Generator, count: int, size: int, seed: int
) -> None:
    (folder / "images").mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id in range(1, count + 1):
        scene = draw_scene(generator, size)
        file_name = f"{image_id:06d}.png"
        cv2.imwrite(str(folder / "images" / file_name), scene.image[..., ::-1])
        images.append(
            {
                "id": image_id,
                "file_name": file_name,
                "height": size,
                "width": size,
                "license": 1,
            }
        )
        annotations += _annotations(scene, image_id, first_id=len(annotations) + 1)
    categories = [
        {"id": category_id, "name": name, "supercategory": "shape"}
        for name, category_id in CATEGORY_IDS.items()
    ]
    content = {
        "info": {"description": "Drawn scenes", "version": "1", "seed": seed},
        "licenses": [{"id": 1, "name": "Apache License 2.0", "url": ""}],
        "images": images,
        "categories": categories,
        "annotations": annotations,
    }
    (folder / "annotations.json").write_text(json.dumps(content))


def _annotations(scene: Scene, image_id: int, first_id: int) -> list[dict[str, Any]]:
    annotations = []
    for index, item in enumerate(scene.objects):
        rle = coco_mask.encode(np.asfortranarray(item.mask.astype(np.uint8)))
        crowd = image_id % CROWD_EVERY == 0 and index == 0
        annotations.append(
            {
                "id": first_id + index,
                "image_id": image_id,
                "category_id": CATEGORY_IDS[item.name],
                "bbox": [float(value) for value in coco_mask.toBbox(rle)],
                "area": int(item.mask.sum()),
                "iscrowd": int(crowd),
                "segmentation": {"size": rle["size"], "counts": rle["counts"].decode("ascii")},
            }
        )
    return annotations
