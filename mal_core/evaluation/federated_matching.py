"""Which detection found which object in LVIS's own files: lvis-api's matching."""

import logging
from typing import Any

from lvis import LVIS, LVISEval, LVISResults

from mal_core.data.crowding import counted_detections
from mal_core.evaluation.average_precision import Matches
from mal_core.evaluation.match_records import (
    Bands,
    Json,
    Kind,
    by_score,
    collect,
    without_objects,
)

COCO_NAMES = {
    "dtMatches": "dt_matches",
    "dtIgnore": "dt_ignore",
    "gtIgnore": "gt_ignore",
    "dtScores": "dt_scores",
}
"""What pycocotools calls a field of a record, and what lvis-api does."""

# It reports every step; nothing in it that the result does not say.
logging.getLogger("lvis").setLevel(logging.ERROR)


def match_federated(content: Json, entries: list[Json], kind: Kind) -> Matches:
    """Match detections with the objects of a file whose images say what was looked for in them.

    Args:
        content: The parsed file, its annotations numbered from one.
        entries: Detections.
        kind: As for `mal_core.evaluation.matching.match_predictions`.
    """
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
    return collect(records, content, params.img_ids, params.cat_ids, params.rec_thrs)


class _Federated(LVIS):  # type: ignore[misc] # lvis-api has no types
    """An annotation file that has been parsed; lvis-api's own class opens one itself."""

    def __init__(self, content: Json) -> None:
        self.logger, self.dataset = logging.getLogger("lvis"), content
        self._create_index()


class _NoResults(LVISResults):  # type: ignore[misc] # lvis-api has no types
    """No detections at all, which lvis-api's own class cannot hold."""

    def __init__(self, content: Json) -> None:
        self.logger, self.dataset = logging.getLogger("lvis"), without_objects(content)
        self._create_index()


class _FederatedBoundaryEval(LVISEval):  # type: ignore[misc] # lvis-api has no types
    """The same for LVIS, which has no crowds."""

    def __init__(self, truth: LVIS, found: LVISResults, kind: str) -> None:
        super().__init__(truth, found, kind)
        self._bands = Bands()

    def compute_iou(self, image_id: int, category_id: int) -> Any:
        """IoU of each detection, by falling score, with each object: (D, G), or []."""
        by_area = super().compute_iou(image_id, category_id)
        if len(by_area) == 0:
            return by_area
        objects = self._gts[image_id, category_id]
        kept = by_score(self._dts[image_id, category_id])
        return self._bands.smaller_iou(by_area, kept, objects, [0] * len(objects))
