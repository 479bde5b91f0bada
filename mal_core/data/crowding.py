"""What a file's objects do to AP: more on an image than are usually counted, and LVIS's rules.

COCO's AP looks at the 100 best detections of a class on an image, LVIS's at the 300 best
detections of an image, and recipes keep 20 to 300 per image. An image with more objects than
that would cap the recall of every training, on human masks as on pseudo-labels, and make the
two look more alike than they are. So both limits follow the data, with a quarter to spare
for detections that are wrong. Ordinary data stays within the usual limits and is scored as
everywhere.

A file of LVIS, in which not every class was looked for on every image, is scored as by lvis-api.
A copy that has lost what says where one looked can only be scored as COCO, and says so.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

COCO_LIMIT, LVIS_LIMIT = 100, 300
SPARE = 1.25
MOST_KEPT = 2000
"""Detections per image up to which a recipe follows the data: 2,000 masks of 704 x 520 px are
2.9 GB while SOLOv2 enlarges them."""
MOST_COUNTED = 10_000
"""Detections up to which AP follows the data: 10,000 by as many objects are 0.8 GB of IoU."""
FEDERATED_FIELDS = frozenset(["neg_category_ids", "not_exhaustive_category_ids"])
FREQUENCIES = ("r", "c", "f")
UNFEDERATED = (
    "images lack neg_category_ids or not_exhaustive_category_ids, though the file has other fields "
    "of LVIS: AP on it is COCO's, for which a detection of a class that nobody looked for is "
    "wrong. Copy both fields from LVIS's own file to have it scored as lvis-api does"
)
ADVICE = "Cut such images into tiles"
OPTION = "the limits in segmenter.options.model.test_cfg"

Content = Mapping[str, Any]
"""A COCO file, or one of its entries."""


def followed(usual: int, most_objects: int, bound: int) -> int:
    """The limit for data with that many objects: the usual one wherever it is enough."""
    if most_objects <= usual:
        return usual
    return max(usual, min(bound, math.ceil(most_objects * SPARE / 10) * 10))


def is_federated(content: Mapping[str, Any]) -> bool:
    """Whether every image says what was looked for on it."""
    images = content.get("images", ())
    return bool(images) and num_federated(images) == len(images)


def num_federated(images: Iterable[Content]) -> int:
    """How many images say what was looked for on them."""
    return sum(image.keys() >= FEDERATED_FIELDS for image in images)


def has_frequency(category: Content) -> bool:
    """Whether a class is in one of LVIS's groups."""
    return category.get("frequency") in FREQUENCIES


def num_unfederated(images: int, federated: int, *, frequencies: bool) -> int:
    """How many images lack what LVIS's have, of a file that has other fields of LVIS.

    Args:
        images: In the file.
        federated: How many of these say what was looked for on them.
        frequencies: Some class has a frequency.
    """
    return images - federated if federated or frequencies else 0


def objects_of_images(content: Content) -> dict[Any, Counter[Any]]:
    """Objects by image id and class id; crowds are none."""
    found: dict[Any, Counter[Any]] = {}
    for entry in content["annotations"]:
        if not entry.get("iscrowd"):
            found.setdefault(entry["image_id"], Counter())[entry["category_id"]] += 1
    return found


def most_objects(content: Content) -> int:
    """Objects on the fullest image."""
    return _fullest(objects_of_images(content).values())


def counted_detections(content: Content) -> int:
    """Detections that AP looks at: per image in files of LVIS, else per image and class."""
    return _counted(objects_of_images(content).values(), is_federated(content))


def _fullest(images: Iterable[Counter[Any]]) -> int:
    return max((classes.total() for classes in images), default=0)


def _counted(images: Iterable[Counter[Any]], federated: bool) -> int:
    if federated:
        return followed(LVIS_LIMIT, _fullest(images), MOST_COUNTED)
    fullest = max((max(classes.values()) for classes in images), default=0)
    return followed(COCO_LIMIT, fullest, MOST_COUNTED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """How many objects of an annotation file a segmenter's predictions can find at all.

    Attributes:
        objects, most_objects: In the file, and on its fullest image; crowds are left out.
        unreachable: Objects beyond the detections that are kept or counted on their image.
        kept: Detections per image that the segmenter keeps; None: it sets no limit.
        counted: Detections that AP looks at, per image and class, or per image for LVIS.
        usual: The same where no image is that full: 100 for COCO, 300 for LVIS.
        unfederated: Images of a copy of LVIS that no longer say what was looked for on them.
    """

    objects: int
    most_objects: int
    unreachable: int
    kept: int | None
    counted: int
    usual: int
    unfederated: int = 0

    def lines(self) -> list[str]:
        """What a reader of an AP must know; nothing for ordinary data."""
        return [*self.ruler_lines(), *self.unreachable_lines()]

    def ruler_lines(self) -> list[str]:
        """Whether AP counts otherwise than usual: the same for all segmenters."""
        lines = [f"{self.unfederated} {UNFEDERATED}"] if self.unfederated else []
        if self.counted <= self.usual:
            return lines
        unit = "image" if self.usual == LVIS_LIMIT else "image and class"
        return [
            *lines,
            f"AP counts {self.counted} detections per {unit} instead of {self.usual}, because "
            f"one image has {self.most_objects} objects: compare it with no AP by the usual limit",
        ]

    def unreachable_lines(self) -> list[str]:
        """How many objects are out of reach of this segmenter, and what to do."""
        if not self.unreachable:
            return []
        by_segmenter = self.kept is not None and self.kept < self.most_objects
        what = f"{self.kept} are kept" if by_segmenter else f"AP counts {self.counted}"
        return [
            f"no prediction can reach {self.unreachable} of {self.objects} objects: of the "
            f"detections on an image {what}, and one image has {self.most_objects} objects. "
            f"{ADVICE}" + (f", or raise {OPTION}" if by_segmenter else "")
        ]


def measure_reach(content: Content, kept: int | None) -> Reach:
    """Compare the objects of a file with what is kept of a segmenter's detections."""
    images, federated = objects_of_images(content).values(), is_federated(content)
    counted = _counted(images, federated)
    reachable = 0
    for classes in images:
        by_class = classes.total() if federated else sum(min(n, counted) for n in classes.values())
        limits = [by_class, *([counted] if federated else []), *([] if kept is None else [kept])]
        reachable += min(limits)
    objects = sum(classes.total() for classes in images)
    return Reach(
        objects=objects,
        most_objects=_fullest(images),
        unreachable=objects - reachable,
        kept=kept,
        counted=counted,
        usual=LVIS_LIMIT if federated else COCO_LIMIT,
        unfederated=num_unfederated(
            len(content["images"]),
            num_federated(content["images"]),
            frequencies=any(map(has_frequency, content["categories"])),
        ),
    )
