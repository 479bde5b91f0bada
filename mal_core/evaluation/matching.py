"""Which detection found which object: pycocotools' matching, lvis-api's for LVIS's own files."""

import contextlib
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mal_core.data.coco import parse_coco
from mal_core.data.crowding import counted_detections, is_federated
from mal_core.data.results import read_results
from mal_core.evaluation.average_precision import Matches
from mal_core.evaluation.match_records import (
    Bands,
    Entry,
    Json,
    Kind,
    by_score,
    collect,
    without_objects,
)


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
        # lvis-api brings all of matplotlib, half a second of every other evaluation.
        from mal_core.evaluation.federated_matching import match_federated

        return match_federated(content, entries, kind)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        truth = _indexed(content)
        found = truth.loadRes(entries) if entries else _indexed(without_objects(content))
        chosen = _BoundaryEval if kind == "boundary" else COCOeval
        evaluator = chosen(truth, found, "segm" if kind == "boundary" else kind)
        evaluator.params.maxDets = [counted_detections(content)]
        evaluator.evaluate()
    params = evaluator._paramsEval
    return collect(evaluator.evalImgs, content, params.imgIds, params.catIds, params.recThrs)


class _BoundaryEval(COCOeval):  # type: ignore[misc] # pycocotools has no types
    """Masks agree as far as both their areas and their outlines do."""

    def __init__(self, truth: COCO, found: COCO, kind: str) -> None:
        super().__init__(truth, found, kind)
        self._bands = Bands()

    def computeIoU(self, image_id: int, category_id: int) -> Any:  # noqa: N802 - its name
        """IoU of each detection, by falling score, with each object: (D, G), or []."""
        by_area = super().computeIoU(image_id, category_id)
        if len(by_area) == 0:
            return by_area
        objects = self._gts[image_id, category_id]
        kept = by_score(self._dts[image_id, category_id])[: self.params.maxDets[-1]]
        crowds = [int(entry["iscrowd"]) for entry in objects]
        return self._bands.smaller_iou(by_area, kept, objects, crowds)


def _number_from_one(content: Json) -> None:
    """Both libraries take a match with id 0 for no match."""
    for number, annotation in enumerate(content["annotations"], start=1):
        annotation["id"] = number


def _indexed(content: Json) -> COCO:
    api = COCO()
    api.dataset = content
    api.createIndex()
    return api
