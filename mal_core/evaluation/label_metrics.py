"""Label quality in the paper's terms: instance and class means, sizes, outlines, groups.

The JSON form, all values in [0, 1] and null where there is no such object:

    objects, missing      objects with a human mask; those of them without a label
    mask_iou              mean over objects: all, small, medium, large (by area of the box)
    class_iou             mean over classes of the mean of each class, the same four
    boundary_iou          mean over objects, the same four
    groups                class_iou of things and of stuff on COCO's classes, else null
    classes               per class: name, objects, mask_iou, boundary_iou; worst last
    clustering            score and objects (see mal_core.evaluation.clustering), or null
"""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mal_core.evaluation.agreement import Agreement
from mal_core.geometry.boxes import SIZE_NAMES
from mal_core.types import SizeMeans

STUFF = frozenset(
    [
        "bus",
        "train",
        "truck",
        "bench",
        "couch",
        "bed",
        "dining table",
        "toilet",
        "oven",
        "sink",
        "refrigerator",
    ]
)
"""COCO's classes that the paper counts as stuff; the other 69 are things."""
NUM_COCO_CLASSES = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassQuality:
    """Means over the objects of one class."""

    name: str
    objects: int
    mask_iou: float
    boundary_iou: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Clustering:
    """The clustering score of an encoder and the number of objects it is a mean over."""

    score: float
    objects: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelMetrics:
    """Everything the JSON form says (see the module's docstring)."""

    objects: int
    missing: int
    mask_iou: SizeMeans
    class_iou: SizeMeans
    boundary_iou: SizeMeans
    groups: Mapping[str, float | None] | None
    classes: tuple[ClassQuality, ...]
    clustering: Clustering | None = None

    def to_json(self) -> dict[str, Any]:
        """The content of the JSON file."""
        return dataclasses.asdict(self)


def label_metrics(objects: Sequence[Agreement], category_names: Iterable[str]) -> LabelMetrics:
    """All means over a list of compared objects.

    Args:
        objects: At least one.
        category_names: Classes of the human file; COCO's have things and stuff.
    """
    names = set(category_names)
    has_groups = names >= STUFF and len(names) == NUM_COCO_CLASSES
    return LabelMetrics(
        objects=len(objects),
        missing=sum(not agreement.labeled for agreement in objects),
        mask_iou=_by_size(
            objects, lambda chosen: _mean([agreement.mask_iou for agreement in chosen])
        ),
        class_iou=_by_size(objects, _class_mean),
        boundary_iou=_by_size(
            objects, lambda chosen: _mean([agreement.boundary_iou for agreement in chosen])
        ),
        groups=_groups(objects) if has_groups else None,
        classes=_classes(objects),
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _by_class(objects: Sequence[Agreement]) -> dict[str, list[Agreement]]:
    found: dict[str, list[Agreement]] = defaultdict(list)
    for agreement in objects:
        found[agreement.category].append(agreement)
    return found


def _class_mean(objects: Sequence[Agreement]) -> float | None:
    groups = _by_class(objects).values()
    return _mean([float(np.mean([agreement.mask_iou for agreement in group])) for group in groups])


def _by_size(objects: Sequence[Agreement], mean: Any) -> SizeMeans:
    parts = {
        name: mean([agreement for agreement in objects if agreement.size == index])
        for index, name in enumerate(SIZE_NAMES)
    }
    return SizeMeans(all=mean(objects), **parts)


def _groups(objects: Sequence[Agreement]) -> dict[str, float | None]:
    return {
        "things": _class_mean(
            [agreement for agreement in objects if agreement.category not in STUFF]
        ),
        "stuff": _class_mean([agreement for agreement in objects if agreement.category in STUFF]),
    }


def _classes(objects: Sequence[Agreement]) -> tuple[ClassQuality, ...]:
    found = [
        ClassQuality(
            name=name,
            objects=len(group),
            mask_iou=float(np.mean([agreement.mask_iou for agreement in group])),
            boundary_iou=float(np.mean([agreement.boundary_iou for agreement in group])),
        )
        for name, group in _by_class(objects).items()
    ]
    return tuple(sorted(found, key=lambda quality: (-quality.mask_iou, quality.name)))
