"""A sample of the boxes of a dataset, the same whenever it is asked for."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from mal_core.labeling.protocol import Photo, corners_of
from mal_core.types import BoxAnnotation, BoxDataset

SEED = 17
PER_PHOTO = 8
"""Boxes of one photo at most, while others are left: its objects are alike."""


def sample_boxes(dataset: BoxDataset, count: int, *, per_class: int | None = None) -> list[Photo]:
    """About `count` random boxes, by photo, in the order of the file; the others keep them company.

    Args:
        dataset: All boxes.
        count: How many; all where there are fewer.
        per_class: Go on until each class has so many, or all of its own.
    """
    order = np.random.default_rng(SEED).permutation(len(dataset.boxes))
    drawn = [dataset.boxes[int(index)] for index in order]
    chosen = _chosen(drawn, count, per_class)
    of_photo: dict[int, list[BoxAnnotation]] = defaultdict(list)
    for box in dataset.boxes:
        of_photo[box.image_id].append(box)
    found = []
    for record in dataset.images:
        boxes = tuple(box for box in of_photo[record.image_id] if box.annotation_id in chosen)
        others = [box for box in of_photo[record.image_id] if box.annotation_id not in chosen]
        if boxes:
            photo = Photo(
                record=record,
                boxes=boxes,
                source=dataset.image_root,
                company_xyxy=corners_of(others),
            )
            found.append(photo)
    return found


def _chosen(drawn: Sequence[BoxAnnotation], count: int, per_class: int | None) -> set[int]:
    chosen: set[int] = set()
    of_photo: Counter[int] = Counter()
    of_class: Counter[int] = Counter()
    for limit in (PER_PHOTO, len(drawn)):
        for box in drawn:
            lacking = per_class is not None and of_class[box.category_id] < per_class
            if box.annotation_id in chosen or (len(chosen) >= count and not lacking):
                continue
            if of_photo[box.image_id] < limit:
                chosen.add(box.annotation_id)
                of_photo[box.image_id] += 1
                of_class[box.category_id] += 1
    return chosen
