"""Which detection found which object, by COCO's rules, or by LVIS's for its own files.

Equal to pycocotools' and lvis-api's matching, which walk through classes, areas, images and
thresholds one by one: here a class on an image is matched for all of them at once
(`mal_core.evaluation.greedy`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mal_core.data.coco import parse_coco
from mal_core.data.crowding import counted_detections, is_federated
from mal_core.data.results import read_results
from mal_core.evaluation.average_precision import ClassMatches, Matches
from mal_core.evaluation.greedy import AREAS, THRESHOLDS, match
from mal_core.evaluation.regions import (
    Entry,
    Json,
    Kind,
    Regions,
    class_places,
    detections_of,
    iou_of,
    objects_of,
)

RECALLS = np.linspace(0, 1, 101, dtype=np.float64)
NONE = slice(0, 0)


def match_predictions(annotations: Path, predictions: Path, kind: Kind = "segm") -> Matches:
    """Match the entries of a results file with the objects of an annotation file.

    Args:
        annotations: COCO or LVIS file with human masks.
        predictions: COCO results list.
        kind: "segm", "bbox", or "boundary": masks by the smaller of their IoU and of that of
            the bands along their outlines (Cheng et al., CVPR 2021).

    Raises:
        DatasetError: Predictions without masks, or without boxes where these are scored.
        MalCoreError: Predictions on images that the annotation file does not have.
    """
    results = read_results(predictions, ["bbox" if kind == "bbox" else "segmentation"])
    return match_results(parse_coco(annotations), results, kind)


def match_results(content: Json, results: Iterable[Entry], kind: Kind) -> Matches:
    """`match_predictions` of files that have been parsed.

    A file whose images say which classes were looked for in them is LVIS's and is scored
    as such: as COCO, a detection of a class that nobody looked for would count as wrong.
    How many detections count follows the data (see mal_core.data.crowding). A detection's
    size is that of its mask where masks are compared, whatever its box says. The content's
    masks become RLE, which changes no later result.
    """
    image_ids = sorted(image["id"] for image in content["images"])
    images = {image_id: place for place, image_id in enumerate(image_ids)}
    federated = is_federated(content)
    objects = objects_of(content, kind, images, federated=federated)
    found = detections_of(results, content, kind, images)
    counted = counted_detections(content)
    if federated:
        found = _looked_for(found.best_of_each(found.images, counted), objects, content, images)
    else:
        found = found.best_of_each(found.classes * len(images) + found.images, counted)
    return Matches(
        image_ids=tuple(int(image_id) for image_id in image_ids),
        recalls=RECALLS,
        classes=_all_classes(content, objects, found.in_order(), kind),
    )


def _looked_for(
    found: Regions, objects: Regions, content: Json, images: Mapping[Any, int]
) -> Regions:
    """LVIS's detections of what was looked for on their images.

    Where it was not looked for to the end, one that takes no object counts neither way.
    """
    places = class_places(content)

    def pairs(name: str) -> NDArray[np.int64]:
        listed = [
            places[one] * len(images) + images[image["id"]]
            for image in content["images"]
            for one in image[name]
            if one in places
        ]
        return np.array(listed, np.int64)

    present = objects.classes * len(images) + objects.images
    known = np.concatenate([present, pairs("neg_category_ids")])
    kept = found.chosen(np.flatnonzero(np.isin(found.classes * len(images) + found.images, known)))
    here = kept.classes * len(images) + kept.images
    partly = np.isin(here, pairs("not_exhaustive_category_ids"))
    return replace(kept, uncounted=kept.uncounted | partly)


def _all_classes(
    content: Json, objects: Regions, found: Regions, kind: Kind
) -> tuple[ClassMatches, ...]:
    """What became of the detections of each class, in the order of the class ids."""
    num_images = len(content["images"])
    there, here = objects.spans(num_images), found.spans(num_images)
    pairs: list[list[_Pair]] = [[] for _ in content["categories"]]
    for key in sorted(there.keys() | here.keys()):
        place, image = divmod(key, num_images)
        spans = here.get(key, NONE), there.get(key, NONE)
        pairs[place].append(_matched(image, found, objects, *spans, kind))
    categories = sorted(content["categories"], key=lambda category: category["id"])
    return tuple(
        _class_matches(category, of_class, num_images)
        for category, of_class in zip(categories, pairs, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Pair:
    """One class on one image.

    Attributes:
        image: Its place.
        scores: Of the detections, falling, (D,).
        hit, ignored: As in `ClassMatches`, (A, T, D).
        objects: To be found, (A,).
    """

    image: int
    scores: NDArray[np.float64]
    hit: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    objects: NDArray[np.int64]


def _matched(
    image: int, found: Regions, objects: Regions, here: slice, there: slice, kind: Kind
) -> _Pair:
    """Let the detections of one class on one image take its objects."""
    shape = here.stop - here.start, there.stop - there.start
    iou = iou_of(found, here, objects, there, kind) if all(shape) else np.zeros(shape)
    uncounted = objects.uncounted[:, there]
    hit, ignored = match(iou, uncounted, objects.crowds[there])
    return _Pair(
        image=image,
        scores=found.scores[here],
        hit=hit,
        ignored=ignored | (~hit & found.uncounted[:, None, here]),
        objects=np.count_nonzero(~uncounted, axis=1),
    )


def _class_matches(category: Entry, pairs: Sequence[_Pair], num_images: int) -> ClassMatches:
    """All images of one class together, its detections by falling score."""
    nothing = np.zeros((len(AREAS), len(THRESHOLDS), 0), bool)
    scores = np.concatenate([*(pair.scores for pair in pairs), np.zeros(0)])
    order = np.argsort(-scores, kind="mergesort")
    images = np.array([pair.image for pair in pairs], np.int64)
    objects = np.zeros((len(AREAS), num_images), np.int64)
    for pair in pairs:
        objects[:, pair.image] = pair.objects
    return ClassMatches(
        name=category["name"],
        image=np.repeat(images, [len(pair.scores) for pair in pairs])[order],
        hit=np.concatenate([*(pair.hit for pair in pairs), nothing], axis=2)[:, :, order],
        ignored=np.concatenate([*(pair.ignored for pair in pairs), nothing], axis=2)[:, :, order],
        objects=objects,
        frequency=str(category.get("frequency", "")),
    )
