"""Do segmenters profit from weighted labels when a fifth of the masks is wrong?

    python -m benchmarks.label_weights runs/weights --data scenes persons=DIR \
        --recipes scenes=solov2_r18 persons=mask_rcnn_lite0 [--checkpoints persons=FILE] \
        [--seeds 0 1] [--steps N] [--jobs 2] [--masks ours] [--limit SECONDS]

DIR holds `images/` and `annotations/instances_{train,val}.json`; `scenes` alone are drawn.
A labeler (of `--checkpoints`, else trained here) labels the training boxes, or human masks are
kept (`--masks human`); 20 % of the masks become filled boxes; the labeler scores all of them as
`mal score checkpoint=FILE` does. Each recipe then trains on these labels: all masks alike
("none"), by `segmenter.label_weights=score`, by `threshold` (at `--threshold`, default: the
score that a quarter of the masks lies below), and on the labels before any was replaced
("clean"). Leaves table.md and table.json, after each training; started again it goes on.
"""

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import trainings
from benchmarks.compared_labels import Table
from benchmarks.datasets import SCENE_COUNTS, Data, read_or_draw
from benchmarks.label_curve import filled_box, human_mask
from benchmarks.trainings import Training, say
from mal_core.config import SegmenterConfig
from mal_core.data.coco import parse_coco
from mal_core.labelers.scoring import score_file
from mal_core.processes.files import write_json

REPLACED, LOWEST = 0.2, 0.25
CLEAN, ALIKE, BY_SCORE, BY_THRESHOLD = "clean", "none", "score", "threshold"
ARMS = (ALIKE, BY_SCORE, BY_THRESHOLD, CLEAN)


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Labels of a data set as they were, and with a part of them replaced, all with scores.

    Attributes:
        found: Share of the replaced ones among the quarter of lowest scores.
        threshold: Score that this quarter lies below.
    """

    clean: Path
    replaced: Path
    found: float
    threshold: float

    def file(self, arm: str) -> Path:
        """What the trainings of an arm learn."""
        return self.clean if arm == CLEAN else self.replaced


def main() -> None:
    """Make labels, replace a part of them, score, train, and write the table."""
    options = _options()
    data = {
        one.name: one
        for one in (read_or_draw(text, options.out, options.scenes) for text in options.data)
    }
    labels = {name: _labels(one, options.out / name, options) for name, one in data.items()}
    for name, made in labels.items():
        say(f"{name}: {_found(made)}")
    cells = [
        Training(data=data[name], labels=arm, recipe=recipe, seed=seed)
        for seed in options.seeds
        for name, recipe in _pairs(options.recipes)
        for arm in options.arms
    ]

    def predict(cell: Training) -> Path:
        made = labels[cell.data.name]
        recipe = _segmenter(cell, made.threshold, options)
        return trainings.train(cell, made.file(cell.labels), recipe, options.out)

    table = Table(options.out, ARMS, reference=ALIKE)
    for cell, matches in trainings.trained(cells, predict, options):
        table.add(cell, matches, labels[cell.data.name].file(cell.labels))
    say(table.text())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME=DIR")
    parser.add_argument("--recipes", nargs="+", required=True, metavar="NAME=RECIPE")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--masks", choices=("ours", "human"), default="ours")
    parser.add_argument("--threshold", type=float)
    parser.add_argument("--checkpoints", nargs="*", default=[], metavar="NAME=FILE")
    parser.add_argument("--scenes", type=int, nargs=2, default=SCENE_COUNTS, help="train, val")
    trainings.add_training_options(parser)
    trainings.add_labeler_options(parser)
    return parser.parse_args()


def _pairs(texts: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (text.partition("=") for text in texts)]


def _labels(data: Data, folder: Path, options: argparse.Namespace) -> Labels:
    """Labels of the training images, and the same with filled boxes in place of a fifth."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = trainings.labeler(data, folder, options)
    clean, mixed = folder / "clean.json", folder / "replaced.json"
    if not clean.is_file():
        own = options.masks == "ours"
        content = trainings.labeled(data, checkpoint, folder) if own else _human(data)
        chosen, replaced = _replaced(content)
        write_json(folder / "mixed.json", replaced)
        write_json(folder / "chosen.json", chosen)
        score_file(folder / "mixed.json", data.train.images, mixed, checkpoint=checkpoint)
        write_json(clean, content)
    chosen = json.loads((folder / "chosen.json").read_text())
    return _scored(clean, mixed, set(chosen), options.threshold)


def _scored(clean: Path, mixed: Path, replaced: set[Any], threshold: float | None) -> Labels:
    scores = {
        ann["id"]: float(ann["score"])
        for ann in parse_coco(mixed)["annotations"]
        if ann.get("score") is not None
    }
    order = sorted(scores, key=lambda key: scores[key])
    lowest = order[: round(LOWEST * len(order))]
    return Labels(
        clean=clean,
        replaced=mixed,
        found=len(replaced.intersection(lowest)) / len(replaced),
        threshold=scores[order[len(lowest)]] if threshold is None else threshold,
    )


def _human(data: Data) -> dict[str, Any]:
    content = parse_coco(data.train.annotations)
    records = {record["id"]: record for record in content["images"]}
    for ann in content["annotations"]:
        if not ann.get("iscrowd"):
            ann["segmentation"] = human_mask(ann, records[ann["image_id"]], Path())
    return content


def _replaced(content: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The ids of a fifth of the masks, and the same content with their filled boxes instead."""
    records = {record["id"]: record for record in content["images"]}
    masks = [ann for ann in content["annotations"] if not ann.get("iscrowd")]
    count = max(1, round(REPLACED * len(masks)))
    places = np.random.default_rng(0).permutation(len(masks))[:count]
    chosen = {masks[int(place)]["id"] for place in places}
    annotations = [
        {**ann, "segmentation": filled_box(ann, records[ann["image_id"]], Path())}
        if ann["id"] in chosen
        else ann
        for ann in content["annotations"]
    ]
    return sorted(chosen), {**content, "annotations": annotations}


def _segmenter(cell: Training, threshold: float, options: argparse.Namespace) -> SegmenterConfig:
    return trainings.segmenter(
        cell.recipe,
        options,
        label_weights=cell.labels if cell.labels in (BY_SCORE, BY_THRESHOLD) else "none",
        label_threshold=threshold,
    )


def _found(labels: Labels) -> str:
    return (
        f"the lowest {LOWEST:.0%} of scores hold {labels.found:.0%} of the replaced masks; "
        f"threshold {labels.threshold:.3f}"
    )


if __name__ == "__main__":
    main()
