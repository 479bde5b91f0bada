"""Which property of labels predicts what a segmenter keeps? Data sets x labels x recipes.

    python -m benchmarks.label_table runs/table --data nuclei=DIR persons=DIR \
        --recipes mask_rcnn_lite0 solov2_lite0 [--weights FILE] [--seeds 0 1 2] [--jobs 2]

DIR holds `images/` and `annotations/instances_{train,val}.json`; `scenes` are drawn. Makes
labels of known quality from the human masks, and our own from the boxes: `MAL` by the recipe of
`--labeler`, which counts by its scores in `MAL by score`, and `MAL paper` by the paper's losses
without refinement at that recipe's sizes. Trains each recipe on each, as phase 2 does; leaves
table.md and table.json, of all trainings that are done by then. Started again it goes on where
it stopped; on one core 2 to 20 minutes a training.
"""

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import trainings
from benchmarks.compared_labels import HUMAN, Table
from benchmarks.datasets import Data, read_or_draw
from benchmarks.label_curve import MAKERS
from benchmarks.trainings import Training, labels_folder, say
from mal_core.processes.files import write_json

OURS, BY_SCORE, PAPER = "MAL", "MAL by score", "MAL paper"
DEGRADED = tuple(name for name in MAKERS if name != HUMAN and "4 px" not in name)
LABELS = (HUMAN, OURS, BY_SCORE, PAPER, *DEGRADED)


def main() -> None:
    """Make the labels, train, and write the table after every training."""
    options = _options()
    data = [read_or_draw(text, options.out) for text in options.data]
    cells = [
        Training(data=one, labels=name, recipe=recipe, seed=seed)
        for seed in options.seeds
        for name in options.labels
        for one in data
        for recipe in options.recipes
    ]
    table = Table(options.out, LABELS)
    with ThreadPoolExecutor(options.jobs) as labeling:
        labels = {
            (one, name): labeling.submit(_labels, one, name, options)
            for name in dict.fromkeys(map(_as_made, options.labels))
            for one in data
        }

        def predict(cell: Training) -> Path:
            made = labels[cell.data, _as_made(cell.labels)].result()
            weighing = {"label_weights": "score"} if cell.labels == BY_SCORE else {}
            recipe = trainings.segmenter(cell.recipe, options, **weighing)
            return trainings.train(cell, made, recipe, options.out)

        for cell, matches in trainings.trained(cells, predict, options):
            table.add(cell, matches, labels[cell.data, _as_made(cell.labels)].result())
    table.write()
    say(f"{len(table.found)} of {len(cells)} trainings\n{table.text()}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME=DIR|scenes")
    parser.add_argument("--recipes", nargs="+", required=True)
    parser.add_argument("--labels", nargs="+", choices=LABELS, default=LABELS, metavar="NAME")
    trainings.add_training_options(parser)
    trainings.add_labeler_options(parser)
    return parser.parse_args()


def _as_made(name: str) -> str:
    return OURS if name == BY_SCORE else name


def _labels(data: Data, name: str, options: argparse.Namespace) -> Path:
    """A training file with these labels; boxes without a mask are left out."""
    folder = labels_folder(options.out, data, name)
    target = folder / "labels.json"
    if not target.is_file():
        own = name in (OURS, PAPER)
        content = _ours(data, name, folder, options) if own else _made(data, name)
        write_json(target, content)
    return target


def _ours(data: Data, name: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    mal = trainings.paper_labeler(options) if name == PAPER else None
    return trainings.labeled(data, trainings.train_labeler(data, folder, options, mal), folder)


def _made(data: Data, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(data.train.annotations.read_text())
    records = {record["id"]: record for record in content["images"]}
    for entry in content["annotations"]:
        record = records[entry["image_id"]]
        if not entry.get("iscrowd"):
            image = data.train.images / record["file_name"]
            entry["segmentation"] = MAKERS[name](entry, record, image)
    return trainings.with_pixels(content)


if __name__ == "__main__":
    main()
