"""The curves of the score that come with the library, and how well they tell the true IoU.

    python -m benchmarks.quality_curves runs/curves --data nuclei=DIR persons=DIR \
        --checkpoints nuclei=FILE persons=FILE [--labels 160] [--composites 80] [--judged 150]

DIR holds `images/` and `annotations/instances_{train,val}.json`; FILE is a labeler trained on
the boxes of the training split. It labels some of them; composites of these photos, whose masks
are known, give the trials that labels.json and masks.json are fitted to, of all data sets
together. No human mask is read for that. Boxes of the other split are then labeled, scored by
these curves and by the library's present ones, and compared with the human masks.
"""

import argparse
import dataclasses
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.datasets import Data, read_data
from mal_core.config import SplitConfig
from mal_core.data.coco import read_boxes
from mal_core.evaluation.masked import read_masked
from mal_core.evaluation.reliability import reliability
from mal_core.geometry.masks import rle_iou
from mal_core.labelers.recipes import labeler_recipe
from mal_core.labelers.registry import labeling_config
from mal_core.labeling.mask_writer import MaskWriter
from mal_core.labeling.protocol import Photo
from mal_core.labeling.trial import LEAST_AREA, try_out
from mal_core.models.checkpoints import load_labeler
from mal_core.processes.records import write_record
from mal_core.quality.regression import FloatArray, QualityModel, Row
from mal_core.quality.score import Kind, default_model
from mal_core.quality.trained import Trial, fit_library, fit_model
from mal_core.report.text_tables import markdown_table
from mal_core.types import BoxDataset, PseudoLabel

KINDS: tuple[Kind, ...] = ("labels", "masks")
SEED = 0
BAD, WORST = 0.5, 0.2
"""A mask is bad below this IoU; where hardly any is, among this share of the lowest IoUs."""
HARDLY_ANY = 0.05


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a labeler does on a data set.

    Attributes:
        trials: Masks of known IoU on composites of training photos.
        rows, ious: Components of labels of the other split, and their IoU with human masks.
    """

    name: str
    trials: Sequence[Trial]
    rows: Sequence[Row]
    ious: FloatArray


def main() -> None:
    """Fit the curves, write them, and say what they are worth."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    checkpoints = dict(text.split("=", 1) for text in options.checkpoints)
    found = [
        _collect(data, Path(checkpoints[data.name]), options)
        for data in map(read_data, options.data)
    ]
    trials = [trial for one in found for trial in one.trials]
    names = ", ".join(one.name for one in found)
    fitted: dict[Kind, QualityModel] = {
        kind: fit_library(trials, default_model(kind).names, f"{len(trials)} masks: {names}")
        for kind in KINDS
    }
    for kind, model in fitted.items():
        write_record(options.out / f"{kind}.json", model, indent=1)
    table = markdown_table([row for one in found for row in _rows(one, fitted)])
    (options.out / "table.md").write_text(f"{table}\n")
    sys.stdout.write(f"{table}\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME=DIR")
    parser.add_argument("--checkpoints", nargs="+", required=True, metavar="NAME=FILE")
    parser.add_argument("--labeler", default="cpu", help="file of conf/mal that labels")
    parser.add_argument("--labels", type=int, default=160, help="per data set, to cut out of")
    parser.add_argument("--composites", type=int, default=80, help="per data set")
    parser.add_argument("--judged", type=int, default=150, help="labels per data set")
    return parser.parse_args()


def _collect(data: Data, checkpoint: Path, options: argparse.Namespace) -> Found:
    network, trained = load_labeler(checkpoint)
    writer = MaskWriter(network, labeling_config(trained, labeler_recipe(options.labeler)))
    dataset = _sample(data.train, options.labels)
    labels = [
        outcome
        for outcome in writer.outcomes(_photos(dataset))
        if isinstance(outcome, PseudoLabel) and outcome.mask_area >= LEAST_AREA
    ]
    trials = try_out(dataset, writer, labels, options.composites)
    if not trials:
        raise SystemExit(f"{data.name}: too few objects to cut out: give more than --labels")
    truth = {each.annotation_id: each for each in read_masked(data.val.annotations).judged()}
    drawn = [
        one
        for one in writer.draw(writer.views(_photos(_sample(data.val, options.judged))))
        if one.mask.any() and one.item.annotation.annotation_id in truth
    ]
    ious = [rle_iou(one.rle, truth[one.item.annotation.annotation_id].rle()) for one in drawn]
    rows = [one.components() for one in drawn]
    return Found(name=data.name, trials=trials, rows=rows, ious=np.array(ious))


def _sample(split: SplitConfig, count: int) -> BoxDataset:
    """The boxes of a split, some of them taken by chance."""
    dataset = read_boxes(split.images, split.annotations)
    chosen = np.random.default_rng(SEED).permutation(len(dataset.boxes))[:count]
    boxes = tuple(dataset.boxes[k] for k in sorted(chosen.tolist()))
    return dataclasses.replace(dataset, boxes=boxes)


def _photos(dataset: BoxDataset) -> Iterable[Photo]:
    for record in dataset.images:
        boxes = tuple(box for box in dataset.boxes if box.image_id == record.image_id)
        if boxes:
            yield Photo(record=record, boxes=boxes, source=dataset.image_root)


def _rows(found: Found, fitted: Mapping[Kind, QualityModel]) -> Iterable[dict[str, str]]:
    own = fit_model(found.trials, found.rows, prior=fitted["labels"])
    scores = {
        "mean probability": np.array([row["belief"] for row in found.rows]),
        "the mask alone": fitted["masks"].predict(found.rows),
        "present curve": default_model("labels").predict(found.rows),
        "this curve": fitted["labels"].predict(found.rows),
        "fitted to own composites": own.predict(found.rows),
    }
    few = float((found.ious < BAD).mean()) < HARDLY_ANY
    bad = float(np.quantile(found.ious, WORST)) if few else BAD
    for title, values in scores.items():
        told = reliability(values, found.ious, bad_below=bad)
        yield {
            "objects": f"{len(found.ious)} of {found.name}",
            "score": title,
            "rank correlation": _number(told.spearman),
            "AUROC of bad": _number(told.auroc),
            "calibration error": _number(told.calibration_error),
            "bad in the lowest 5 %, x share": _number(told.lift),
        }


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
