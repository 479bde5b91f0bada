"""What both libraries' matching needs and leaves: outlines, order by score, records as arrays."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mal_core.evaluation.average_precision import ALL, ClassMatches, Matches
from mal_core.geometry.boundary import boundary_rle
from mal_core.types import Rle

Kind = Literal["segm", "bbox", "boundary"]
Entry = Mapping[str, Any]
Json = dict[str, Any]
NUM_THRESHOLDS = 10
"""IoU 0.50, 0.55, ..., 0.95."""


class Bands:
    """Bands along the outlines of masks, each made once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], Rle] = {}

    def smaller_iou(
        self, by_area: Any, found: Sequence[Entry], objects: Sequence[Entry], crowds: Sequence[int]
    ) -> Any:
        """The smaller of two IoU, (D, G): of areas and, but for crowds, of bands."""
        by_band = coco_mask.iou(
            [self._band("found", entry) for entry in found],
            [self._band("object", entry) for entry in objects],
            list(crowds),
        )
        return np.minimum(by_area, np.where(np.array(crowds) > 0, by_area, by_band))

    def _band(self, side: str, entry: Entry) -> Rle:
        key = side, int(entry["id"])
        if key not in self._known:
            # evaluate() has turned every segmentation into compressed RLE.
            self._known[key] = boundary_rle(entry["segmentation"], *entry["segmentation"]["size"])
        return self._known[key]


def by_score(found: Sequence[Entry]) -> list[Entry]:
    """Detections by falling score, as both libraries take them."""
    order = np.argsort([-entry["score"] for entry in found], kind="mergesort")
    return [found[index] for index in order]


def without_objects(content: Json) -> Json:
    """A parsed annotation file with the same images and classes, and nothing on them."""
    return {**content, "annotations": []}


def collect(
    records: Sequence[Any],
    content: Mapping[str, Any],
    image_ids: Sequence[int],
    class_ids: Sequence[int],
    recalls: Any,
) -> Matches:
    """A library's records of images as one record of arrays.

    Args:
        records: In the order classes, areas, images; None where an image has nothing.
        content: The parsed annotation file.
        image_ids: Images in the order of the records.
        class_ids: Classes in the order of the records.
        recalls: Recall thresholds, (R,).
    """
    flat = np.empty(len(records), dtype=object)
    flat[:] = records
    grid = flat.reshape(len(class_ids), -1, len(image_ids))
    classes = {category["id"]: category for category in content["categories"]}
    return Matches(
        image_ids=tuple(int(image_id) for image_id in image_ids),
        recalls=np.asarray(recalls),
        classes=tuple(
            _class_matches(classes[class_id], grid[index])
            for index, class_id in enumerate(class_ids)
        ),
    )


def _class_matches(category: Entry, records: NDArray[np.object_]) -> ClassMatches:
    """Records of one class, (A, I)."""
    areas, images = records.shape
    objects = np.zeros((areas, images), np.int64)
    present = [i for i in range(images) if records[ALL, i] is not None]
    for area in range(areas):
        for i in present:
            ignored = np.asarray(records[area, i]["gtIgnore"])
            objects[area, i] = np.count_nonzero(ignored == 0)
    empty = np.zeros((NUM_THRESHOLDS, 0))
    scores = [np.asarray(records[ALL, i]["dtScores"], float) for i in present]
    order = np.argsort(-np.concatenate([*scores, np.zeros(0)]), kind="mergesort")

    def gather(key: str) -> NDArray[np.bool_]:
        rows = [
            np.concatenate([*(records[area, i][key] for i in present), empty], axis=1)[:, order]
            for area in range(areas)
        ]
        return np.stack(rows) != 0

    counts = [len(values) for values in scores]
    image = np.repeat(np.array(present, np.int64), counts)[order]
    return ClassMatches(
        name=category["name"],
        image=image,
        hit=gather("dtMatches"),
        ignored=gather("dtIgnore"),
        objects=objects,
        frequency=str(category.get("frequency", "")),
    )
