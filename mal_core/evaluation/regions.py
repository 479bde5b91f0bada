"""Objects and detections as arrays, in the order in which they are matched."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from mal_core.errors import MalCoreError, MaskError
from mal_core.evaluation.greedy import outside
from mal_core.geometry.boundary import boundary_rle
from mal_core.geometry.masks import segmentation_to_rle

Kind = Literal["segm", "bbox", "boundary"]
Entry = Mapping[str, Any]
Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Regions:
    """Objects, or detections by falling score; those of a class and an image stand together.

    Attributes:
        shapes: N masks as compressed RLE, or N boxes xywh, px.
        areas: In px, float64, shape (N,): the file's for objects, the shape's for detections.
        classes, images: Places among the sorted ids, int64, shape (N,).
        scores: Of detections, float64, shape (N,); zeros for objects.
        crowds: Objects that stand for many, bool, shape (N,).
        uncounted: Objects that are neither found nor missed, detections that are not wrong
            where they take none, by area range, bool, shape (A, N).
    """

    shapes: Sequence[Any]
    areas: NDArray[np.float64]
    classes: NDArray[np.int64]
    images: NDArray[np.int64]
    scores: NDArray[np.float64]
    crowds: NDArray[np.bool_]
    uncounted: NDArray[np.bool_]

    def chosen(self, places: NDArray[np.int64]) -> "Regions":
        """Those at these places, (M,), in their order."""
        return Regions(
            shapes=[self.shapes[place] for place in places],
            areas=self.areas[places],
            classes=self.classes[places],
            images=self.images[places],
            scores=self.scores[places],
            crowds=self.crowds[places],
            uncounted=self.uncounted[:, places],
        )

    def in_order(self) -> "Regions":
        """By class, image and falling score; equal ones stay in the order of their file."""
        return self.chosen(np.lexsort((-self.scores, self.images, self.classes)))

    def best_of_each(self, groups: NDArray[np.int64], count: int) -> "Regions":
        """At most that many of each group, (N,), those of the highest scores."""
        order = np.lexsort((-self.scores, groups))
        rank = np.arange(len(order)) - np.searchsorted(groups[order], groups[order])
        return self.chosen(np.sort(order[rank < count]))

    def spans(self, num_images: int) -> dict[int, slice]:
        """Where those of each class and image lie, by class * num_images + image."""
        keys = self.classes * num_images + self.images
        found, starts, counts = np.unique(keys, return_index=True, return_counts=True)
        rows = zip(found.tolist(), starts.tolist(), counts.tolist(), strict=True)
        return {key: slice(start, start + count) for key, start, count in rows}


def iou_of(found: Regions, here: slice, objects: Regions, there: slice, kind: Kind) -> Any:
    """IoU of detections with objects, float64, shape (D, G); a crowd's is the part inside it.

    Of boundaries it is the smaller of the masks' and that of the bands along their outlines.
    """
    left, right = found.shapes[here], objects.shapes[there]
    crowds = objects.crowds[there]
    flags = crowds.astype(int).tolist()
    by_area = coco_mask.iou(left, right, flags)
    if kind != "boundary":
        return by_area
    by_band = coco_mask.iou(_bands(left), _bands(right), flags)
    return np.minimum(by_area, np.where(crowds, by_area, by_band))


def _bands(masks: Iterable[Any]) -> list[Any]:
    return [boundary_rle(mask, *mask["size"]) for mask in masks]


def objects_of(content: Json, kind: Kind, images: Mapping[Any, int], *, federated: bool) -> Regions:
    """The objects of a parsed annotation file; its masks become RLE, for the next who reads them.

    Args:
        content: The file; classes take their places by sorted id.
        kind: What is compared.
        images: Places of the images by id.
        federated: The file is LVIS's, which has no crowds, but objects to ignore.

    Raises:
        MaskError: A mask cannot be read; the message names its annotation.
    """
    places = class_places(content)
    entries = content["annotations"]
    if kind == "bbox":
        shapes = [entry["bbox"] for entry in entries]
    else:
        sizes = {one["id"]: (one["height"], one["width"]) for one in content["images"]}
        shapes = [_as_rle(entry, *sizes[entry["image_id"]]) for entry in entries]
    areas = np.array([entry["area"] for entry in entries], float)
    field = "ignore" if federated else "iscrowd"
    marked = np.array([bool(entry.get(field)) for entry in entries], bool)
    return Regions(
        shapes=shapes,
        areas=areas,
        classes=np.array([places[entry["category_id"]] for entry in entries], np.int64),
        images=np.array([images[entry["image_id"]] for entry in entries], np.int64),
        scores=np.zeros(len(entries)),
        crowds=marked & (not federated),
        uncounted=outside(areas) | marked,
    ).in_order()


def _as_rle(entry: Json, height: int, width: int) -> Any:
    """An annotation's mask as RLE, which stays in the annotation."""
    try:
        rle = segmentation_to_rle(entry["segmentation"], height, width)
    except MaskError as error:
        message = f"annotation {entry['id']!r} {error}"
        raise MaskError(message) from error
    entry["segmentation"] = rle
    return rle


def detections_of(
    results: Iterable[Entry], content: Json, kind: Kind, images: Mapping[Any, int]
) -> Regions:
    """The entries of a results list whose class the annotation file knows.

    Raises:
        MalCoreError: An entry is on an image that the annotation file does not have.
    """
    places = class_places(content)
    entries = [entry for entry in results if entry["category_id"] in places]
    strange = [entry["image_id"] for entry in entries if entry["image_id"] not in images]
    if strange:
        message = (
            f"{len(strange)} detections are on images that the annotation file does not have, "
            f"the first on image {strange[0]!r}. Give the file that was predicted on."
        )
        raise MalCoreError(message)
    shapes = [entry["bbox" if kind == "bbox" else "segmentation"] for entry in entries]
    if kind == "bbox":
        sides = np.array(shapes, float).reshape(-1, 4)[:, 2:]
        areas = sides[:, 0] * sides[:, 1]
    else:
        # One by one: pycocotools counts the masks of a list in eight bits.
        areas = np.array([float(coco_mask.area(shape)) for shape in shapes])
    return Regions(
        shapes=shapes,
        areas=areas,
        classes=np.array([places[entry["category_id"]] for entry in entries], np.int64),
        images=np.array([images[entry["image_id"]] for entry in entries], np.int64),
        scores=np.array([entry["score"] for entry in entries], float),
        crowds=np.zeros(len(entries), bool),
        uncounted=outside(areas),
    )


def class_places(content: Json) -> dict[Any, int]:
    """The place of each class among the sorted ids."""
    ids = sorted(category["id"] for category in content["categories"])
    return {class_id: place for place, class_id in enumerate(ids)}
