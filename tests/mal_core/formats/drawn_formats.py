"""The same two pictures with three objects, written in every format by the tests themselves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WIDTH, HEIGHT = 40, 30
NAMES = ("cat", "dog")
OBJECTS = (  # picture, class, xywh
    (0, 0, (4, 5, 12, 10)),
    (0, 1, (20, 2, 15, 25)),
    (1, 1, (0, 0, 40, 30)),
)
Json = dict[str, Any]


def masks() -> list[NDArray[np.uint8]]:
    """One mask per object: its box without the top-left quarter."""
    made = []
    for _, _, (x, y, w, h) in OBJECTS:
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[y : y + h, x : x + w] = 1
        mask[y : y + h // 2, x : x + w // 2] = 0
        made.append(mask)
    return made


def draw(folder: Path, names: tuple[str, ...] = ("a.jpg", "b.jpg"), scale: int = 1) -> Path:
    """The pictures."""
    size = (HEIGHT * scale, WIDTH * scale, 3)
    generator = np.random.default_rng(0)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, size, dtype=np.uint8)).save(path)
    return folder


def label(normal: Json) -> Json:
    """The normal form with the masks of `masks`, as `mal label` would write it."""
    from mal_core.geometry.masks import mask_to_rle

    annotations = [
        {**entry, "segmentation": mask_to_rle(mask), "area": int(mask.sum()), "score": 0.9}
        for entry, mask in zip(normal["annotations"], masks(), strict=True)
    ]
    return {**normal, "annotations": annotations}


def boxes_of(normal: Json) -> list[tuple[str, str, tuple[float, ...]]]:
    """File, class and box of every annotation."""
    file_of = {image["id"]: image["file_name"] for image in normal["images"]}
    name_of = {category["id"]: category["name"] for category in normal["categories"]}
    return [
        (file_of[a["image_id"]], name_of[a["category_id"]], tuple(round(v, 3) for v in a["bbox"]))
        for a in normal["annotations"]
    ]


EXPECTED = [(("a.jpg", "b.jpg")[p], NAMES[c], tuple(map(float, box))) for p, c, box in OBJECTS]


def write_voc(folder: Path, scale: int = 1) -> Path:
    """VOC's XML: corners counted from 1, the last pixel included."""
    s = scale
    folder.mkdir(parents=True, exist_ok=True)
    for picture, stem in enumerate("ab"):
        objects = "".join(
            f"<object><name>{NAMES[c]}</name><difficult>0</difficult><bndbox>"
            f"<xmin>{s * x + 1}</xmin><ymin>{s * y + 1}</ymin>"
            f"<xmax>{s * (x + w)}</xmax><ymax>{s * (y + h)}</ymax>"
            "</bndbox></object>"
            for p, c, (x, y, w, h) in OBJECTS
            if p == picture
        )
        size = f"<width>{s * WIDTH}</width><height>{s * HEIGHT}</height><depth>3</depth>"
        text = (
            f"<annotation><filename>{stem}.jpg</filename><size>{size}</size>{objects}</annotation>"
        )
        (folder / f"{stem}.xml").write_text(text)
    return folder


def write_yolo(folder: Path) -> Path:
    """YOLO's lines, and classes.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classes.txt").write_text("\n".join(NAMES))
    for picture, stem in enumerate("ab"):
        lines = [
            f"{c} {(x + w / 2) / WIDTH} {(y + h / 2) / HEIGHT} {w / WIDTH} {h / HEIGHT}\n"
            for p, c, (x, y, w, h) in OBJECTS
            if p == picture
        ]
        (folder / f"{stem}.txt").write_text("".join(lines))
    return folder


def coco() -> Json:
    """COCO's object, without masks."""
    return {
        "images": [
            {"id": i, "file_name": name, "width": WIDTH, "height": HEIGHT}
            for i, name in enumerate(("a.jpg", "b.jpg"))
        ],
        "annotations": [
            {"id": i, "image_id": p, "category_id": c + 1, "bbox": list(box), "iscrowd": 0}
            for i, (p, c, box) in enumerate(OBJECTS, start=1)
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(NAMES, start=1)],
    }


def write_json(path: Path, content: object) -> Path:
    """A JSON file."""
    path.write_text(json.dumps(content))
    return path


def write_voc_with_masks(folder: Path, scale: int = 1) -> Path:
    """VOC's XML in folder/Annotations, and the masks of `masks` in SegmentationObject beside it."""
    objects = folder / "SegmentationObject"
    objects.mkdir(parents=True)
    for picture, stem in enumerate("ab"):
        shapes = [m for m, (p, _, _) in zip(masks(), OBJECTS, strict=True) if p == picture]
        indices = np.zeros((HEIGHT, WIDTH), np.uint8)
        for number, mask in enumerate(shapes, start=1):
            indices[mask > 0] = number
        Image.fromarray(indices.repeat(scale, 0).repeat(scale, 1)).save(objects / f"{stem}.png")
    return write_voc(folder / "Annotations", scale)


def write_yolo_with_masks(folder: Path) -> Path:
    """YOLO's polygons around the masks of `masks`, and classes.txt."""
    write_yolo(folder)
    for picture, stem in enumerate("ab"):
        rows = []
        for p, c, box in OBJECTS:
            shares = (f"{x / WIDTH:.6f} {y / HEIGHT:.6f}" for x, y in outline(box))
            rows += [f"{c} {' '.join(shares)}\n"] * (p == picture)
        (folder / f"{stem}.txt").write_text("".join(rows))
    return folder


def outline(box: tuple[int, int, int, int]) -> list[tuple[int, int]]:
    """Corners of the mask in `masks` that a box of `OBJECTS` has, px."""
    x, y, w, h = box
    left, top, right, bottom = x + w // 2, y + h // 2, x + w, y + h
    return [(left, y), (right, y), (right, bottom), (x, bottom), (x, top), (left, top)]
