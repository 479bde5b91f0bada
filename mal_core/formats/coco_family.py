"""Formats that are COCO with another way to name image files: LVIS v1 and Objects365."""

import os
import reprlib
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlparse

from mal_core.data.coco import parse_coco
from mal_core.data.validation import label_of
from mal_core.errors import DatasetError

Json = dict[str, Any]


def lvis_to_coco(images: Path, annotations: Path) -> Json:
    """LVIS v1 -> COCO; every field of LVIS is kept.

    LVIS names no files: the last two parts of `coco_url` (train2017/000000000009.jpg)
    are the file below the images folder, or the last one where the folder holds a single
    split. `neg_category_ids`, `not_exhaustive_category_ids` and `frequency` stay, so the
    labeled file works with lvis-api.

    Raises:
        DatasetError: The file is broken, or images have no `coco_url`.
    """
    content = parse_coco(annotations)
    problems = []
    for index, image in enumerate(content["images"]):
        if not isinstance(image, dict) or "file_name" in image:
            continue
        url = image.get("coco_url")
        if not isinstance(url, str) or not _path_of(url).name:
            problems.append(
                f"{label_of('image', index, image)} has coco_url={reprlib.repr(url)} and no "
                "file_name. LVIS v1 has a coco_url in every image."
            )
            continue
        parts = _path_of(url).parts[-2:]
        nested = "/".join(parts)
        image["file_name"] = nested if _is_file(images / nested) else parts[-1]
    if problems:
        raise DatasetError(annotations, problems)
    return content


def _path_of(url: str) -> PurePosixPath:
    try:
        return PurePosixPath(urlparse(url).path)
    except ValueError:  # a broken host
        return PurePosixPath()


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - Path's raises for names that are too long


def objects365_to_coco(images: Path, annotations: Path) -> Json:
    """Objects365 -> COCO; files are looked for where its releases unpack them.

    `file_name` may read images/v1/patch8/x.jpg while the folder holds patch8/x.jpg, or
    only x.jpg: the longest tail of the path that exists is taken.

    Raises:
        DatasetError: The file is broken.
    """
    content = parse_coco(annotations)
    for image in content["images"]:
        name = image.get("file_name") if isinstance(image, dict) else None
        if isinstance(name, str):
            image["file_name"] = _existing_tail(images, name)
    return content


def _existing_tail(images: Path, name: str) -> str:
    parts = PurePosixPath(name).parts
    tails = ["/".join(parts[start:]) for start in range(len(parts))]
    return next((tail for tail in tails if _is_file(images / tail)), name)
