"""A sample of the boxes of a dataset, the same whenever it is asked for."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mal_core.labeling.protocol import Photo
from mal_core.types import BoxAnnotation, BoxDataset

SEED = 17
PER_PHOTO = 8
"""Boxes of one photo at most, while others are left: its objects are alike."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampled:
    """Some boxes of a photo.

    Attributes:
        photo: Has the boxes of the sample.
        company: All boxes of the photo.
    """

    photo: Photo
    company: tuple[BoxAnnotation, ...]


def sample_boxes(dataset: BoxDataset, count: int, *, per_class: int | None = None) -> list[Sampled]:
    """About `count` random boxes, by photo, in the order of the file.

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
        company = of_photo.get(record.image_id, [])
        boxes = tuple(box for box in company if box.annotation_id in chosen)
        if boxes:
            photo = Photo(record=record, boxes=boxes, source=dataset.image_root)
            found.append(Sampled(photo=photo, company=tuple(company)))
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
