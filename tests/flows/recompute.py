"""Recomputes retention.json from what lies in a working folder, without the project's code.

    python recompute.py WORKDIR VAL_ANNOTATIONS TRAIN_ANNOTATIONS

Reads predictions, annotations and labels; scores them with pycocotools (lvis-api for a file of
LVIS) and faster-coco-eval (boundary AP); prints every number that differs by more than 1e-9
and ends with status 1 if there is one. Intervals are random and stay out.
"""

import contextlib
import io
import json
import logging
import sys
from collections import Counter
from pathlib import Path

import faster_coco_eval
import numpy as np
from lvis import LVIS, LVISEval, LVISResults
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
FREQUENCIES = ("APr", "APc", "APf")
ARMS = ("human", "pseudo")


def quietly(make):
    with contextlib.redirect_stdout(io.StringIO()):
        return make()


def defined(value):
    return None if value < 0 else float(value)


def mean(values):
    return None if not values or None in values else sum(values) / len(values)


class Ruler:
    """One annotation file and what predictions are worth by it."""

    def __init__(self, annotations: Path) -> None:
        self.path = annotations
        self.content = json.loads(annotations.read_text())
        self.is_lvis = all("neg_category_ids" in image for image in self.content["images"])
        for number, entry in enumerate(self.content["annotations"], start=1):
            entry["id"] = number

    def evaluator(self, results, kind):
        truth = COCO()
        truth.dataset = self.content
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes([dict(one) for one in results]), kind)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
        return evaluator

    def by_lvis(self, results, kind):
        np.float = float  # lvis-api 0.5.3 needs it
        logging.getLogger("lvis").setLevel(logging.ERROR)
        truth = LVIS(str(self.path))
        evaluator = LVISEval(truth, LVISResults(truth, [dict(one) for one in results]), kind)
        evaluator.run()
        return evaluator.get_results()

    def boundary_ap(self, results):
        truth = faster_coco_eval.COCO(str(self.path))
        found = truth.loadRes([dict(one) for one in results])
        evaluator = faster_coco_eval.COCOeval_faster(truth, found, "boundary")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
        return defined(evaluator.stats[0])

    def score(self, predictions: Path):
        """Metrics by name, AP by class, precision by IoU."""
        results = json.loads(predictions.read_text())
        bare = [{k: v for k, v in one.items() if k != "bbox"} for one in results]
        if self.is_lvis:
            by_mask, by_box = self.by_lvis(bare, "segm"), self.by_lvis(results, "bbox")
            metrics = {name: defined(by_mask[name]) for name in (*NAMES, *FREQUENCIES)}
            return {**metrics, "APbox": defined(by_box["AP"])}, {}, {}
        masks = quietly(lambda: self.evaluator(bare, "segm"))
        boxes = quietly(lambda: self.evaluator(results, "bbox"))
        metrics = {name: defined(v) for name, v in zip(NAMES, masks.stats, strict=False)}
        metrics |= {"APbox": defined(boxes.stats[0])}
        metrics |= {"APbnd": quietly(lambda: self.boundary_ap(bare))}
        metrics |= dict.fromkeys(FREQUENCIES)
        precision = masks.eval["precision"][:, :, :, 0, -1]
        names = {one["id"]: one["name"] for one in self.content["categories"]}
        known = [i for i in range(precision.shape[2]) if (precision[:, :, i] > -1).any()]
        classes = {names[masks.params.catIds[i]]: float(precision[:, :, i].mean()) for i in known}
        curves = {iou: precision[t][:, known].mean(axis=1) for iou, t in (("0.50", 0), ("0.75", 5))}
        return metrics, classes, curves


def expected_segmenter(content, folder: Path, ruler: Ruler):
    """What retention.json should say about one segmenter, but for intervals and verdicts."""
    scored = {}
    for arm in ARMS if content["human_source"] == "trained" else ARMS[1:]:
        extra = [folder / arm / f"seed_{seed}" for seed in content["seeds"][1:]]
        scored[arm] = [ruler.score(path / "predictions.json") for path in (folder / arm, *extra)]
    expected = {"runs": {arm: [run[0] for run in runs] for arm, runs in scored.items()}}
    for arm, runs in scored.items():
        expected[arm] = {name: mean([run[0][name] for run in runs]) for name in runs[0][0]}
        expected.setdefault("precision", {})[arm] = {
            iou: np.mean([run[2][iou] for run in runs], axis=0).tolist() for iou in runs[0][2]
        }
    if "human" in expected:
        expected["retention"] = {
            name: value / expected["human"][name]
            for name, value in expected["pseudo"].items()
            if value is not None and expected["human"][name]
        }
    for name in scored["pseudo"][0][1]:
        means = {arm: mean([run[1][name] for run in runs]) for arm, runs in scored.items()}
        expected.setdefault("classes", {})[name] = means
    return expected


def expected_quality(labels: Path, human: Path):
    """Mean mask IoU of the labels."""
    content = json.loads(human.read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    found = {one["id"]: one for one in json.loads(labels.read_text())["annotations"]}

    def rle(segmentation, size):
        if isinstance(segmentation, list):
            return coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))
        if isinstance(segmentation["counts"], list):
            return coco_mask.frPyObjects(segmentation, *size)
        return segmentation

    ious = []
    for entry in content["annotations"]:
        if entry.get("iscrowd") or min(entry["bbox"][2:]) <= 0:
            continue
        size = sizes[entry["image_id"]]
        label = found.get(entry["id"])
        pair = [rle(one["segmentation"], size) for one in (entry, label) if one]
        ious.append(coco_mask.iou([pair[0]], [pair[1]], [0])[0, 0] if label else 0.0)
    return {"mask_iou": {"all": float(np.mean(ious))}}


def differences(expected, seen, where=""):
    """Places of `expected` that `seen` has otherwise."""
    if isinstance(expected, dict):
        for key, value in expected.items():
            yield from differences(value, (seen or {}).get(key), f"{where}.{key}")
    elif isinstance(expected, list):
        if len(expected) != len(seen or []):
            yield f"{where}: {len(expected)} values expected, {len(seen or [])} seen"
        for index, value in enumerate(expected):
            yield from differences(value, seen[index], f"{where}[{index}]")
    elif not equal(expected, seen):
        yield f"{where}: {expected} expected, {seen} seen"


def equal(expected, seen):
    if expected is None or seen is None:
        return expected is seen
    return abs(expected - seen) <= 1e-9


def main(workdir: Path, val: Path, train: Path) -> int:
    content = json.loads((workdir / "retention.json").read_text())
    labels = workdir / "labels" / "train.json"
    entries = json.loads(labels.read_text())["annotations"]
    scores = Counter(min(int(one["score"] * 10), 9) for one in entries if "score" in one)
    expected = {
        "segmenters": {
            name: expected_segmenter(one, workdir / "segmenters" / name, Ruler(val))
            for name, one in content["segmenters"].items()
        },
        "label_quality": expected_quality(labels, train),
        "label_scores": [scores[place] for place in range(10)],
        "accounting": {
            "boxes": len(json.loads(train.read_text())["annotations"]),
            "masks": sum(not one.get("iscrowd") for one in entries),
            "crowds": sum(bool(one.get("iscrowd")) for one in entries),
        },
    }
    wrong = list(differences(expected, content))
    sys.stdout.write("".join(f"{line}\n" for line in wrong) or "all numbers are right\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:4])))
