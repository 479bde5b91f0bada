"""What a review is worth to a segmenter: what labels keep after correcting the worst of them.

    python -m benchmarks.corrected_labels runs/corrected --data scenes [NAME=DIR ...] \
        --recipe solov2_r18 [--shares 0.05 0.1 0.2] [--checkpoints NAME=FILE] \
        [--labels NAME=FILE] [--seeds 0 1] [--steps N] [--jobs 2]

DIR holds `images/` and `annotations/instances_{train,val}.json`; `scenes` alone are drawn. A
labeler (of `--checkpoints`, else trained here) labels the training boxes, unless `--labels` has
labels with scores already, such as those that `benchmarks.label_weights` spoils. For each share the
masks that `mal review` shows first, and as many random ones, become human masks. The recipe is
trained on each file of labels, as phase 2 does, and on human masks alone. Leaves table.md and
table.json, after each training; started again it goes on.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import trainings
from benchmarks.compared_labels import HUMAN, Table
from benchmarks.datasets import Data, read_or_draw
from benchmarks.trainings import Training, labels_folder, say
from mal_core.data.coco import parse_coco
from mal_core.formats.exports.labeled import read_labeled
from mal_core.processes.files import write_json
from mal_core.review.queue import review_queue
from mal_core.types import HUMAN_SOURCE

UNCORRECTED = "as labeled"


def main() -> None:
    """Label, correct, train, and write the table after every training."""
    options = _options()
    names = [UNCORRECTED, *map(_name, _corrections(options)), HUMAN]
    data = [read_or_draw(text, options.out) for text in options.data]
    files = {one: _files(one, options) for one in data}
    cells = [
        Training(data=one, labels=name, recipe=options.recipe, seed=seed)
        for seed in options.seeds
        for one in data
        for name in (HUMAN, *names[:-1])
    ]

    def predict(cell: Training) -> Path:
        recipe = trainings.segmenter(cell.recipe, options)
        return trainings.train(cell, files[cell.data][cell.labels], recipe, options.out)

    table = Table(options.out, names)
    for cell, matches in trainings.trained(cells, predict, options):
        table.add(cell, matches, files[cell.data][cell.labels])
    say(table.text())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME=DIR")
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.05, 0.1, 0.2])
    parser.add_argument("--checkpoints", nargs="*", default=[], metavar="NAME=FILE")
    parser.add_argument("--labels", nargs="*", default=[], metavar="NAME=FILE")
    trainings.add_training_options(parser)
    trainings.add_labeler_options(parser)
    return parser.parse_args()


def _corrections(options: argparse.Namespace) -> list[tuple[str, float]]:
    return [(order, share) for share in options.shares for order in ("worst", "random")]


def _name(correction: tuple[str, float]) -> str:
    order, share = correction
    return f"{order} {100 * share:g} % corrected"


def _files(data: Data, options: argparse.Namespace) -> dict[str, Path]:
    """Files of labels by name: as the labeler made them, each correction, the human masks."""
    labels = trainings.named_file(options.labels, data) or _made_here(data, options)
    worst = [suspect.labeled.id for suspect in review_queue(read_labeled(labels))]
    random = np.random.default_rng(0).permutation(worst).tolist()
    files = {UNCORRECTED: labels, HUMAN: data.train.annotations}
    for order, share in _corrections(options):
        name = _name((order, share))
        chosen = (worst if order == "worst" else random)[: round(share * len(worst))]
        files[name] = labels_folder(options.out, data, name) / "labels.json"
        files[name].parent.mkdir(parents=True, exist_ok=True)
        write_json(files[name], _corrected(labels, data.train.annotations, chosen))
    return files


def _made_here(data: Data, options: argparse.Namespace) -> Path:
    """Labels of the training boxes by a labeler, which is trained first unless it is given."""
    folder = labels_folder(options.out, data, UNCORRECTED)
    folder.mkdir(parents=True, exist_ok=True)
    labels = folder / "labels.json"
    if not labels.is_file():
        checkpoint = trainings.labeler(data, folder, options)
        write_json(labels, trainings.labeled(data, checkpoint, folder))
    return labels


def _corrected(labels: Path, human: Path, chosen: Sequence[int]) -> dict[str, Any]:
    """Labels with the human masks of some, as `mal review import` leaves them."""
    masks = {ann["id"]: ann["segmentation"] for ann in parse_coco(human)["annotations"]}
    content, wanted = parse_coco(labels), set(chosen)
    annotations: Iterable[dict[str, Any]] = content["annotations"]
    return {
        **content,
        "annotations": [
            {**ann, "segmentation": masks[ann["id"]], "source": HUMAN_SOURCE, "score": 1.0}
            if ann["id"] in wanted
            else ann
            for ann in annotations
        ],
    }


if __name__ == "__main__":
    main()
