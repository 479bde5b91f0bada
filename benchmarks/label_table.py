"""Which property of labels predicts what a segmenter keeps? Data sets x labels x recipes.

    python -m benchmarks.label_table runs/table --data nuclei=DIR persons=DIR \
        --recipes mask_rcnn_lite0 solov2_lite0 --weights FILE [--seeds 0 1 2] [--jobs 2]

DIR holds `images/` and `annotations/instances_{train,val}.json`. Makes labels of known
quality from the human masks, and our own from the boxes (`MAL`); trains each recipe on each,
as phase 2 does; leaves table.md and table.json, of all trainings that are done by then.
Started again it goes on where it stopped; on one core 5 to 20 minutes a training.
"""

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.datasets import Data, read_data, write_boxes
from benchmarks.label_curve import MAKERS
from mal_core.config import SplitConfig
from mal_core.data.coco import parse_coco
from mal_core.data.crowding import most_objects
from mal_core.data.object_sizes import measure_sizes
from mal_core.evaluation.agreement import measure_agreement
from mal_core.evaluation.compared_arms import RunMatches, compare_twins, match_run
from mal_core.evaluation.retention import SegmenterResult
from mal_core.geometry.mask_forms import is_mask
from mal_core.geometry.masks import segmentation_to_mask
from mal_core.jobs.phase1 import LabelJob, TrainJob, label_in_child, train_in_child
from mal_core.jobs.segmenter import PREDICTIONS_FILE, SegmenterJob, train_segmenter
from mal_core.labelers.recipes import encoder_recipe, labeler_recipe, segmenter_recipe
from mal_core.processes.files import write_json
from mal_core.report.text_tables import markdown_table

HUMAN, OURS = "human masks", "MAL"
METRICS = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap_boundary": "APbnd"}
LABELS = (HUMAN, OURS, *(name for name in MAKERS if name != HUMAN and "4 px" not in name))


@dataclass(frozen=True, kw_only=True)
class Training:
    """One cell of the table, with one seed."""

    data: Data
    labels: str
    recipe: str
    seed: int


def main() -> None:
    """Make the labels, train, and write the table after every training."""
    options = _options()
    out: Path = options.out.absolute()
    data = [read_data(text) for text in options.data]
    cells = [
        Training(data=one, labels=name, recipe=recipe, seed=seed)
        for seed in options.seeds
        for name in options.labels
        for one in data
        for recipe in options.recipes
    ]
    started = time.monotonic()
    spawn = multiprocessing.get_context("spawn")
    table = Table(out)
    with (
        ProcessPoolExecutor(options.jobs, mp_context=spawn) as scoring,
        ThreadPoolExecutor(options.jobs) as labeling,
        ThreadPoolExecutor(options.jobs) as training,
    ):
        labels = {
            (one, name): labeling.submit(_labels, one, name, out, options)
            for name in options.labels
            for one in data
        }

        def work(cell: Training) -> tuple[Training, RunMatches, Path] | None:
            if options.limit and time.monotonic() - started > options.limit:
                return None
            made = labels[cell.data, cell.labels].result()
            predictions = _train(cell, made, out, options)
            truth = cell.data.val.annotations
            return cell, scoring.submit(match_run, truth, predictions).result(), made

        for future in as_completed([training.submit(work, cell) for cell in cells]):
            if (error := future.exception()) is not None:
                _say(error)  # the other cells are worth having all the same
            elif (done := future.result()) is not None:
                table.add(*done)
    table.write()
    _say(f"{len(table.found)} of {len(cells)} trainings\n{_table(table.rows())}")


def _say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


class Table:
    """What is known so far; written after every training."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.found: dict[Training, RunMatches] = {}
        self.quality: dict[tuple[str, str], dict[str, float]] = {}

    def add(self, cell: Training, matches: RunMatches, labels: Path) -> None:
        """One training more."""
        self.found[cell] = matches
        key = cell.data.name, cell.labels
        if key not in self.quality:
            self.quality[key] = _quality(cell.data, labels)
        metrics = matches.metrics()
        place = _folder(cell, self.out).relative_to(self.out)
        _say(f"{place}: AP {metrics.ap}, boundary AP {metrics.ap_boundary}")
        self.write()

    def rows(self) -> list[dict[str, Any]]:
        """One per data set, recipe and labels that has trainings on human masks beside it."""
        return list(_rows(self.found, self.quality))

    def write(self) -> None:
        """As JSON and as markdown."""
        rows = self.rows()
        write_json(self.out / "table.json", rows, indent=1)
        (self.out / "table.md").write_text(_table(rows) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME=DIR")
    parser.add_argument("--recipes", nargs="+", required=True)
    parser.add_argument("--labels", nargs="+", choices=LABELS, default=LABELS, metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, help="of phase 2; default: the recipe's")
    parser.add_argument("--batch", type=int, help="images per step; default: the recipe's")
    parser.add_argument("--weights", help="of the segmenters' backbones")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0, help="that load images, per training")
    parser.add_argument("--limit", type=float, help="seconds after which no training starts")
    parser.add_argument("--encoder", default="random_tiny", help="of the labeler")
    parser.add_argument("--encoder-weights", type=Path)
    parser.add_argument("--labeler", default="cpu", help="file of conf/mal")
    parser.add_argument("--labeler-steps", type=int, default=600)
    return parser.parse_args()


def _labels(data: Data, name: str, out: Path, options: argparse.Namespace) -> Path:
    """A training file with these labels; boxes without a mask are left out."""
    folder = out / data.name / name.replace(" ", "_")
    target = folder / "labels.json"
    if target.is_file():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    content = _ours(data, folder, options) if name == OURS else _made(data, name)
    content["annotations"] = [ann for ann in content["annotations"] if _has_pixels(ann, content)]
    write_json(target, content)
    return target


def _made(data: Data, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(data.train.annotations.read_text())
    records = {record["id"]: record for record in content["images"]}
    for entry in content["annotations"]:
        record = records[entry["image_id"]]
        if not entry.get("iscrowd"):
            image = data.train.images / record["file_name"]
            entry["segmentation"] = MAKERS[name](entry, record, image)
    return content


def _has_pixels(entry: dict[str, Any], content: dict[str, Any]) -> bool:
    segmentation = entry.get("segmentation")
    if segmentation is None or not is_mask(segmentation):
        return False
    if isinstance(segmentation, list):
        return True
    return bool(segmentation_to_mask(segmentation, *segmentation["size"]).any())


def _ours(data: Data, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Phase 1: learn from the boxes, and label them."""
    boxes = write_boxes(data.train, folder / "boxes.json")
    weights = options.encoder_weights
    given = {} if weights is None else {"weights": weights.absolute()}
    mal = labeler_recipe(options.labeler, max_steps=options.labeler_steps, trackers=[])
    train_in_child(
        TrainJob(
            images=data.train.images,
            boxes=boxes,
            strict=False,
            encoder=encoder_recipe(options.encoder, **given),
            mal=mal,
            seed=0,
            output_dir=folder / "labeler",
        ),
        on_line=lambda _line: None,
    )
    job = LabelJob(
        images=data.train.images,
        annotations=boxes,
        strict=False,
        checkpoint=folder / "labeler" / "checkpoint.pth",
        mal=mal,
        output=folder / "labeled" / "train.json",
        ledger=folder / "labeled" / "skipped.json",
    )
    label_in_child(job, on_line=lambda _line: None)
    labeled: dict[str, Any] = json.loads(job.output.read_text())
    return labeled


def _folder(cell: Training, out: Path) -> Path:
    place = out / cell.data.name / cell.labels.replace(" ", "_")
    return place / f"{cell.recipe}-{cell.seed}"


def _train(cell: Training, labels: Path, out: Path, options: argparse.Namespace) -> Path:
    """One training as phase 2 does it; its predictions on the val images."""
    done = _folder(cell, out) / PREDICTIONS_FILE
    if done.is_file():
        return done
    truth = parse_coco(cell.data.train.annotations)
    settings = segmenter_recipe(cell.recipe, num_workers=options.workers, **_changes(options))
    job = SegmenterJob(
        recipe=settings,
        train=SplitConfig(images=cell.data.train.images, annotations=labels),
        val=cell.data.val,
        seed=cell.seed,
        most_objects=most_objects(truth),
        sizes=measure_sizes(truth),
    )
    folder = _folder(cell, out)
    run = train_segmenter(job, folder, on_line=lambda _line: None)
    for checkpoint in folder.glob("iter_*.pth"):
        checkpoint.unlink()
    return run.predictions


def _changes(options: argparse.Namespace) -> dict[str, Any]:
    given = {
        "max_steps": options.steps,
        "batch_size": options.batch,
        "weights": options.weights,
    }
    return {name: value for name, value in given.items() if value is not None}


def _rows(
    scored: Mapping[Training, RunMatches], qualities: Mapping[tuple[str, str], dict[str, float]]
) -> Iterable[dict[str, Any]]:
    found: dict[tuple[Data, str, str], dict[int, RunMatches]] = {}
    for cell, matches in scored.items():
        found.setdefault((cell.data, cell.recipe, cell.labels), {})[cell.seed] = matches
    for (data, recipe, name), runs in sorted(found.items(), key=lambda item: _order(*item[0])):
        human = found.get((data, recipe, HUMAN), {})
        seeds = sorted(set(runs) & set(human))
        if seeds:
            pairs = [human[s] for s in seeds], [runs[s] for s in seeds]
            result = compare_twins(recipe, seeds, *pairs)
            quality = qualities[data.name, name]
            yield {"data": data.name, "recipe": recipe, "labels": name} | quality | _numbers(result)


def _order(data: Data, recipe: str, labels: str) -> tuple[str, str, int]:
    return data.name, recipe, LABELS.index(labels)


def _numbers(result: SegmenterResult) -> dict[str, Any]:
    rates, record = result.retention(), result.to_json()
    return {
        "seeds": list(result.seeds),
        "human": record["human"],
        "own": record["pseudo"],
        "kept": {name: rates[name] for name in METRICS.values()},
        "interval": {name: record["interval"].get(name) for name in METRICS.values()},
    }


def _quality(data: Data, labels: Path) -> dict[str, float]:
    """Mean mask IoU and boundary IoU of the labels with the human masks; none counts 0."""
    objects = measure_agreement(labels, data.train.annotations).objects
    return {
        "mask_iou": fmean(one.mask_iou for one in objects),
        "boundary_iou": fmean(one.boundary_iou for one in objects),
    }


def _table(rows: Iterable[dict[str, Any]]) -> str:
    shown = []
    for row in rows:
        line = {key: str(row[key]) for key in ("data", "recipe", "labels")}
        line["mask IoU"] = f"{row['mask_iou']:.3f}"
        line["boundary IoU"] = f"{row['boundary_iou']:.3f}"
        line["AP"] = f"{100 * row['own']['AP']:.1f}"
        line["APbnd"] = f"{100 * row['own']['APbnd']:.1f}"
        for name in ("AP", "APbnd"):
            rate, interval = row["kept"][name], row["interval"][name]
            low, high = interval or (float("nan"), float("nan"))
            known = rate is not None
            line[f"{name} kept, %"] = (
                f"{100 * rate:.1f} [{100 * low:.0f}, {100 * high:.0f}]" if known else "n/a"
            )
        shown.append(line)
    return markdown_table(shown)


if __name__ == "__main__":
    main()
