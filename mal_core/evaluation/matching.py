"""Which detection found which object: pycocotools' matching, lvis-api's for LVIS's own files."""

import contextlib
import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lvis import LVIS, LVISEval, LVISResults
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mal_core.data.coco import parse_coco
from mal_core.data.crowding import counted_detections, is_federated
from mal_core.data.results import read_results
from mal_core.evaluation.matches import ALL, ClassMatches, Matches
from mal_core.geometry.boundary import boundary_rle
from mal_core.types import Rle

Kind = Literal["segm", "bbox", "boundary"]
Entry = Mapping[str, Any]
Json = dict[str, Any]
COCO_NAMES = {
    "dtMatches": "dt_matches",
    "dtIgnore": "dt_ignore",
    "gtIgnore": "gt_ignore",
    "dtScores": "dt_scores",
}
"""What pycocotools calls a field of a record, and what lvis-api does."""
NUM_THRESHOLDS = 10
"""IoU 0.50, 0.55, ..., 0.95."""

# Both libraries report every step; nothing in it that the result does not say.
logging.getLogger("lvis").setLevel(logging.ERROR)


def match_predictions(annotations: Path, predictions: Path, kind: Kind = "segm") -> Matches:
    """Match the entries of a results file with the objects of an annotation file.

    Args:
        annotations: COCO or LVIS file with human masks.
        predictions: COCO results list.
        kind: "segm", "bbox", or "boundary": masks by the smaller of their IoU and of that of
            the bands along their outlines (Cheng et al., CVPR 2021).

    Raises:
        DatasetError: Predictions without masks, or without boxes where these are scored.
    """
    results = read_results(predictions, ["bbox" if kind == "bbox" else "segmentation"])
    return match_results(parse_coco(annotations), results, kind)


def match_results(content: Json, results: Iterable[Entry], kind: Kind) -> Matches:
    """`match_predictions` of files that have been parsed.

    A file whose images say which classes were looked for in them is LVIS's and is scored
    as such: as COCO, a detection of a class that nobody looked for would count as wrong.
    How many detections count follows the data (see mal_core.data.crowding). The content's
    annotations are numbered anew and their masks become RLE, which changes no later result.
    """
    # A box beside a mask would decide its size: both libraries take the box's area then.
    dropped = () if kind == "bbox" else ("bbox",)
    entries = [{k: v for k, v in entry.items() if k not in dropped} for entry in results]
    _number_from_one(content)
    if is_federated(content):
        return _match_federated(content, entries, kind)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        truth = _indexed(content)
        found = truth.loadRes(entries) if entries else _indexed(_without_objects(content))
        chosen = _BoundaryEval if kind == "boundary" else COCOeval
        evaluator = chosen(truth, found, "segm" if kind == "boundary" else kind)
        evaluator.params.maxDets = [counted_detections(content)]
        evaluator.evaluate()
    params = evaluator._paramsEval
    return _collect(evaluator.evalImgs, content, params.imgIds, params.catIds, params.recThrs)


def _match_federated(content: Json, entries: list[Json], kind: Kind) -> Matches:
    truth = _Federated(content)
    chosen = _FederatedBoundaryEval if kind == "boundary" else LVISEval
    limit = counted_detections(content)
    found = LVISResults(truth, entries, limit) if entries else _NoResults(content)
    evaluator = chosen(truth, found, "segm" if kind == "boundary" else kind)
    evaluator.evaluate()
    params = evaluator.params
    records = [
        None if record is None else {new: record[old] for new, old in COCO_NAMES.items()}
        for record in evaluator.eval_imgs
    ]
    return _collect(records, content, params.img_ids, params.cat_ids, params.rec_thrs)


class _Federated(LVIS):  # type: ignore[misc] # lvis-api has no types
    """An annotation file that has been parsed; lvis-api's own class opens one itself."""

    def __init__(self, content: Json) -> None:
        self.logger, self.dataset = logging.getLogger("lvis"), content
        self._create_index()


class _NoResults(LVISResults):  # type: ignore[misc] # lvis-api has no types
    """No detections at all, which lvis-api's own class cannot hold."""

    def __init__(self, content: Json) -> None:
        self.logger, self.dataset = logging.getLogger("lvis"), _without_objects(content)
        self._create_index()


class _Bands:
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


def _by_score(found: Sequence[Entry]) -> list[Entry]:
    order = np.argsort([-entry["score"] for entry in found], kind="mergesort")
    return [found[index] for index in order]


class _BoundaryEval(COCOeval):  # type: ignore[misc] # pycocotools has no types
    """Masks agree as far as both their areas and their outlines do."""

    def __init__(self, truth: COCO, found: COCO, kind: str) -> None:
        super().__init__(truth, found, kind)
        self._bands = _Bands()

    def computeIoU(self, image_id: int, category_id: int) -> Any:  # noqa: N802 - its name
        """IoU of each detection, by falling score, with each object: (D, G), or []."""
        by_area = super().computeIoU(image_id, category_id)
        if len(by_area) == 0:
            return by_area
        objects = self._gts[image_id, category_id]
        kept = _by_score(self._dts[image_id, category_id])[: self.params.maxDets[-1]]
        crowds = [int(entry["iscrowd"]) for entry in objects]
        return self._bands.smaller_iou(by_area, kept, objects, crowds)


class _FederatedBoundaryEval(LVISEval):  # type: ignore[misc] # lvis-api has no types
    """The same for LVIS, which has no crowds."""

    def __init__(self, truth: LVIS, found: LVISResults, kind: str) -> None:
        super().__init__(truth, found, kind)
        self._bands = _Bands()

    def compute_iou(self, image_id: int, category_id: int) -> Any:
        """IoU of each detection, by falling score, with each object: (D, G), or []."""
        by_area = super().compute_iou(image_id, category_id)
        if len(by_area) == 0:
            return by_area
        objects = self._gts[image_id, category_id]
        kept = _by_score(self._dts[image_id, category_id])
        return self._bands.smaller_iou(by_area, kept, objects, [0] * len(objects))


def _number_from_one(content: Json) -> None:
    """Both libraries take a match with id 0 for no match."""
    for number, annotation in enumerate(content["annotations"], start=1):
        annotation["id"] = number


def _without_objects(content: Json) -> Json:
    return {**content, "annotations": []}


def _indexed(content: Json) -> COCO:
    api = COCO()
    api.dataset = content
    api.createIndex()
    return api


def _collect(
    records: Sequence[Any],
    content: Mapping[str, Any],
    image_ids: Sequence[int],
    class_ids: Sequence[int],
    recalls: Any,
) -> Matches:
    """Records: in the order classes, areas, images; None where an image has nothing."""
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
