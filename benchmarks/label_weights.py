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
import multiprocessing
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.label_curve import filled_box, human_mask
from mal_core.config import EncoderConfig, MalConfig, SegmenterConfig, SplitConfig
from mal_core.data.coco import parse_coco, strip_masks
from mal_core.data.crowding import most_objects
from mal_core.data.object_sizes import measure_sizes
from mal_core.evaluation.compared_arms import RunMatches, compare_twins, match_run
from mal_core.geometry.mask_forms import is_mask
from mal_core.jobs.phase1 import LabelJob, TrainJob, label_in_child, train_in_child
from mal_core.jobs.segmenter import PREDICTIONS_FILE, SegmenterJob, train_segmenter
from mal_core.labelers.recipes import encoder_recipe, labeler_recipe
from mal_core.labelers.scoring import score_file
from mal_core.processes.files import write_json
from mal_core.processes.records import from_json
from mal_core.report.text_tables import markdown_table

CONF = Path(__file__).parents[1] / "conf" / "segmenter"
SCENES = "scenes"
SCENE_COUNTS, SCENE_SIDE = (400, 100), 160
REPLACED, LOWEST = 0.2, 0.25
CLEAN, ALIKE, BY_SCORE, BY_THRESHOLD = "clean", "none", "score", "threshold"
ARMS = (ALIKE, BY_SCORE, BY_THRESHOLD, CLEAN)
METRICS = ("AP", "AP75", "APbnd")


@dataclass(frozen=True, kw_only=True)
class Data:
    """One data set: both splits with human masks."""

    name: str
    train: SplitConfig
    val: SplitConfig


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


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training: a recipe on the labels of an arm, with one seed."""

    data: Data
    recipe: str
    arm: str
    seed: int

    def folder(self, out: Path) -> Path:
        """Where it leaves its predictions."""
        return out / self.data.name / f"{self.recipe}-{self.arm}-{self.seed}"


def main() -> None:
    """Make labels, replace a part of them, score, train, and write the table."""
    options = _options()
    out: Path = options.out.absolute()
    data = {
        name: _data(name, folder) if folder else _drawn(name, out, options.scenes)
        for name, folder in _pairs(options.data)
    }
    recipes = [(data[name], recipe) for name, recipe in _pairs(options.recipes)]
    labels = {one.name: _labels(one, out / one.name, options) for one in data.values()}
    for name, made in labels.items():
        sys.stdout.write(f"{name}: {_found(made)}\n")
    cells = [
        Training(data=one, recipe=recipe, arm=arm, seed=seed)
        for seed in options.seeds
        for one, recipe in recipes
        for arm in options.arms
    ]
    matches = _trained(cells, labels, out, options)
    rows = list(_rows(matches, labels))
    write_json(out / "table.json", rows, indent=1)
    (out / "table.md").write_text(markdown_table(_texts(rows)) + "\n")
    sys.stdout.write(markdown_table(_texts(rows)) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME=DIR")
    parser.add_argument("--recipes", nargs="+", required=True, metavar="NAME=RECIPE")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--masks", choices=("ours", "human"), default="ours")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, help="of phase 2; default: the recipe's")
    parser.add_argument("--batch", type=int, help="images per step; default: the recipe's")
    parser.add_argument("--weights", help="of pretrained backbones, instead of the recipe's")
    parser.add_argument("--threshold", type=float)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0, help="that load images, per training")
    parser.add_argument("--limit", type=float, help="seconds after which no training starts")
    parser.add_argument("--checkpoints", nargs="*", default=[], metavar="NAME=FILE")
    parser.add_argument("--encoder", default="random_tiny", help="of a labeler trained here")
    parser.add_argument("--encoder-weights", type=Path)
    parser.add_argument("--labeler", default="cpu", help="file of conf/mal")
    parser.add_argument("--labeler-steps", type=int)
    parser.add_argument("--scenes", type=int, nargs=2, default=SCENE_COUNTS, help="train, val")
    return parser.parse_args()


def _pairs(texts: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (text.partition("=") for text in texts)]


def _data(name: str, folder: str) -> Data:
    root = Path(folder).absolute()
    train, val = (
        SplitConfig(
            images=root / "images", annotations=root / "annotations" / f"instances_{split}.json"
        )
        for split in ("train", "val")
    )
    return Data(name=name, train=train, val=val)


def _drawn(name: str, out: Path, counts: tuple[int, int]) -> Data:
    from scenes.write import write_scenes

    if name != SCENES:
        raise SystemExit(f"--data {name}: wanted NAME=DIR; only {SCENES} can be drawn.")
    folder = out / "drawn"
    if not (folder / "val" / "annotations.json").is_file():
        write_scenes(folder, num_train=counts[0], num_val=counts[1], size=SCENE_SIDE, seed=0)
    splits = [
        SplitConfig(
            images=folder / split / "images", annotations=folder / split / "annotations.json"
        )
        for split in ("train", "val")
    ]
    return Data(name=name, train=splits[0], val=splits[1])


def _labels(data: Data, folder: Path, options: argparse.Namespace) -> Labels:
    """Labels of the training images, and the same with filled boxes in place of a fifth."""
    folder.mkdir(parents=True, exist_ok=True)
    boxes = folder / "boxes.json"
    strip_masks(data.train.annotations, boxes)
    given = dict(_pairs(options.checkpoints)).get(data.name)
    checkpoint = Path(given) if given else _train_labeler(data, boxes, folder, options)
    clean, mixed = folder / "clean.json", folder / "replaced.json"
    if not clean.is_file():
        own = options.masks == "ours"
        content = _labeled(data, boxes, checkpoint, folder) if own else _human(data)
        chosen = _replace(content)
        write_json(folder / "mixed.json", content)
        write_json(folder / "chosen.json", chosen)
        score_file(folder / "mixed.json", data.train.images, mixed, checkpoint=checkpoint)
        write_json(clean, _labeled(data, boxes, checkpoint, folder) if own else _human(data))
    replaced = set(json.loads((folder / "chosen.json").read_text()))
    scores = {
        ann["id"]: float(ann["score"])
        for ann in parse_coco(mixed)["annotations"]
        if ann.get("score") is not None
    }
    order = sorted(scores, key=lambda key: scores[key])
    lowest = order[: round(LOWEST * len(order))]
    threshold = options.threshold
    return Labels(
        clean=clean,
        replaced=mixed,
        found=len(replaced.intersection(lowest)) / len(replaced),
        threshold=scores[order[len(lowest)]] if threshold is None else threshold,
    )


def _train_labeler(data: Data, boxes: Path, folder: Path, options: argparse.Namespace) -> Path:
    checkpoint = folder / "labeler" / "checkpoint.pth"
    if not checkpoint.is_file():
        job = TrainJob(
            images=data.train.images,
            boxes=boxes,
            strict=False,
            encoder=_encoder(options),
            mal=_recipe(options),
            seed=0,
            output_dir=folder / "labeler",
        )
        train_in_child(job, on_line=lambda _line: None)
    return checkpoint


def _encoder(options: argparse.Namespace) -> EncoderConfig:
    file: Path | None = options.encoder_weights
    given = {} if file is None else {"weights": file.absolute()}
    return encoder_recipe(options.encoder, **given)


def _recipe(options: argparse.Namespace) -> MalConfig:
    steps = {} if options.labeler_steps is None else {"max_steps": options.labeler_steps}
    return labeler_recipe(options.labeler, trackers=[], **steps)


def _labeled(data: Data, boxes: Path, checkpoint: Path, folder: Path) -> dict[str, Any]:
    """Our own labels; boxes without a mask are left out."""
    output = folder / "labeled" / "train.json"
    if not output.is_file():
        from mal_core.models.checkpoints import load_labeler

        _, trained = load_labeler(checkpoint)
        job = LabelJob(
            images=data.train.images,
            annotations=boxes,
            strict=False,
            checkpoint=checkpoint,
            mal=trained,
            output=output,
            ledger=folder / "labeled" / "skipped.json",
        )
        label_in_child(job, on_line=lambda _line: None)
    content = parse_coco(output)
    content["annotations"] = [
        ann for ann in content["annotations"] if is_mask(ann.get("segmentation"))
    ]
    return content


def _human(data: Data) -> dict[str, Any]:
    content = parse_coco(data.train.annotations)
    records = {record["id"]: record for record in content["images"]}
    for ann in content["annotations"]:
        if not ann.get("iscrowd"):
            ann["segmentation"] = human_mask(ann, records[ann["image_id"]], Path())
    return content


def _replace(content: dict[str, Any]) -> list[Any]:
    """Put filled boxes in place of a fifth of the masks; returns the ids of these."""
    records = {record["id"]: record for record in content["images"]}
    masks = [ann for ann in content["annotations"] if not ann.get("iscrowd")]
    count = max(1, round(REPLACED * len(masks)))
    chosen = np.random.default_rng(0).permutation(len(masks))[:count]
    for index in chosen:
        ann = masks[int(index)]
        ann["segmentation"] = filled_box(ann, records[ann["image_id"]], Path())
    return [masks[int(index)]["id"] for index in chosen]


def _trained(
    cells: Iterable[Training], labels: Mapping[str, Labels], out: Path, options: argparse.Namespace
) -> dict[Training, RunMatches]:
    """The trainings that are done in time, scored."""
    started = time.monotonic()
    spawn = multiprocessing.get_context("spawn")
    found: dict[Training, RunMatches] = {}

    def work(cell: Training) -> str:
        if options.limit and time.monotonic() - started > options.limit:
            return f"{cell.folder(out)}: not started, {options.limit} s are over"
        predictions = _train(cell, labels[cell.data.name], out, options)
        truth = cell.data.val.annotations
        found[cell] = scoring.submit(match_run, truth, predictions).result()
        metrics = found[cell].metrics()
        return f"{cell.folder(out)}: AP {metrics.ap}, boundary AP {metrics.ap_boundary}"

    with (
        ProcessPoolExecutor(options.jobs, mp_context=spawn) as scoring,
        ThreadPoolExecutor(options.jobs) as training,
    ):
        for future in as_completed([training.submit(work, cell) for cell in cells]):
            error = future.exception()  # the other cells are worth having all the same
            sys.stdout.write(f"{future.result() if error is None else error}\n")
            sys.stdout.flush()
    return found


def _train(cell: Training, labels: Labels, out: Path, options: argparse.Namespace) -> Path:
    """One training as phase 2 does it; its predictions on the val images."""
    folder = cell.folder(out)
    if (folder / PREDICTIONS_FILE).is_file():
        return folder / PREDICTIONS_FILE
    truth = parse_coco(cell.data.train.annotations)
    chosen = labels.clean if cell.arm == CLEAN else labels.replaced
    job = SegmenterJob(
        recipe=_segmenter(cell, labels.threshold, options),
        train=SplitConfig(images=cell.data.train.images, annotations=chosen),
        val=cell.data.val,
        seed=cell.seed,
        most_objects=most_objects(truth),
        sizes=measure_sizes(truth),
    )
    run = train_segmenter(job, folder, on_line=lambda _line: None)
    for checkpoint in folder.glob("iter_*.pth"):
        checkpoint.unlink()
    return run.predictions


def _segmenter(cell: Training, threshold: float, options: argparse.Namespace) -> SegmenterConfig:
    settings = yaml.safe_load((CONF / f"{cell.recipe}.yaml").read_text())
    changes: dict[str, Any] = {
        "num_workers": options.workers,
        "label_weights": cell.arm if cell.arm in (BY_SCORE, BY_THRESHOLD) else "none",
        "label_threshold": threshold,
    }
    if options.steps is not None:
        changes["max_steps"] = options.steps
    if options.batch is not None:
        changes["batch_size"] = options.batch
    if options.weights is not None and settings["weights"] is not None:
        changes["weights"] = options.weights
    return from_json(SegmenterConfig, {**settings, **changes}, "segmenter")


def _rows(
    found: Mapping[Training, RunMatches], labels: Mapping[str, Labels]
) -> Iterable[dict[str, Any]]:
    runs: dict[tuple[str, str], dict[str, dict[int, RunMatches]]] = {}
    for cell, matches in found.items():
        arms = runs.setdefault((cell.data.name, cell.recipe), {})
        arms.setdefault(cell.arm, {})[cell.seed] = matches
    for (name, recipe), arms in sorted(runs.items()):
        alike = arms.get(ALIKE, {})
        for arm in ARMS:
            seeds = sorted(set(arms.get(arm, {})) & set(alike))
            if not seeds:
                continue
            pairs = [alike[s] for s in seeds], [arms[arm][s] for s in seeds]
            result = compare_twins(recipe, seeds, *pairs)
            record, ratio = result.to_json(), result.retention()
            yield {
                "data": name,
                "recipe": recipe,
                "arm": arm,
                "seeds": seeds,
                "found": labels[name].found,
                "threshold": labels[name].threshold,
                "AP of each seed": [arms[arm][s].metrics().ap for s in seeds],
                "of unweighted": {metric: ratio[metric] for metric in METRICS},
                "interval": {metric: record["interval"].get(metric) for metric in METRICS},
                "values": {metric: record["pseudo"][metric] for metric in METRICS},
            }


def _texts(rows: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
    shown = []
    for row in rows:
        line = {"data": row["data"], "recipe": row["recipe"], "weights": row["arm"]}
        line["AP of each seed"] = ", ".join(f"{100 * ap:.1f}" for ap in row["AP of each seed"])
        line |= {metric: f"{100 * row['values'][metric]:.1f}" for metric in METRICS}
        for metric in METRICS:
            rate, interval = row["of unweighted"][metric], row["interval"][metric]
            low, high = interval or (float("nan"), float("nan"))
            known = rate is not None
            line[f"{metric}, % of unweighted"] = (
                f"{100 * rate:.1f} [{100 * low:.0f}, {100 * high:.0f}]" if known else "n/a"
            )
        shown.append(line)
    return shown


def _found(labels: Labels) -> str:
    return (
        f"the lowest {LOWEST:.0%} of scores hold {labels.found:.0%} of the replaced masks; "
        f"threshold {labels.threshold:.3f}"
    )


if __name__ == "__main__":
    main()
