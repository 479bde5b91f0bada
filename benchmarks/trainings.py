"""Segmenters trained on several files of labels of the same images, as phase 2 trains them."""

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.datasets import Data, write_boxes
from mal_core.config import MalConfig, SegmenterConfig, SplitConfig
from mal_core.data.coco import parse_coco
from mal_core.data.crowding import most_objects
from mal_core.data.object_sizes import measure_sizes
from mal_core.evaluation.compared_arms import RunMatches, match_run
from mal_core.geometry.mask_forms import is_mask
from mal_core.geometry.masks import segmentation_to_mask
from mal_core.jobs.phase1 import LabelJob, TrainJob, label_in_child, train_in_child
from mal_core.jobs.segmenter import PREDICTIONS_FILE, SegmenterJob, train_segmenter
from mal_core.labelers.recipes import encoder_recipe, labeler_recipe, segmenter_recipe


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training: a recipe on labels of a data set, with one seed."""

    data: Data
    labels: str
    recipe: str
    seed: int

    def folder(self, out: Path) -> Path:
        """Where it leaves its predictions."""
        return labels_folder(out, self.data, self.labels) / f"{self.recipe}-{self.seed}"


def labels_folder(out: Path, data: Data, labels: str) -> Path:
    """Where labels of a name and all trainings on them are."""
    return out / data.name / labels.replace(" ", "_")


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """What the trainings of segmenters take from the command line."""
    parser.add_argument("out", type=lambda text: Path(text).absolute())
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, help="of phase 2; default: the recipe's")
    parser.add_argument("--batch", type=int, help="images per step; default: the recipe's")
    parser.add_argument("--weights", help="of pretrained backbones, instead of the recipe's")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0, help="that load images, per training")
    parser.add_argument("--limit", type=float, help="seconds after which no training starts")


def add_labeler_options(parser: argparse.ArgumentParser) -> None:
    """What the training of a labeler takes from the command line."""
    parser.add_argument("--encoder", default="random_tiny", help="of a labeler trained here")
    parser.add_argument("--encoder-weights", type=lambda text: Path(text).absolute())
    parser.add_argument("--labeler", default="cpu", help="file of conf/mal")
    parser.add_argument("--labeler-steps", type=int, help="default: the recipe's")


def segmenter(recipe: str, options: argparse.Namespace, **changes: Any) -> SegmenterConfig:
    """A recipe with the changes of the command line; one without a pretrained start has none."""
    plain = segmenter_recipe(recipe)
    given = {
        "max_steps": options.steps,
        "batch_size": options.batch,
        "weights": None if plain.weights is None else options.weights,
    }
    known = {name: value for name, value in given.items() if value is not None}
    return segmenter_recipe(recipe, num_workers=options.workers, **known, **changes)


def trained(
    trainings: Iterable[Training],
    predict: Callable[[Training], Path],
    options: argparse.Namespace,
) -> Iterator[tuple[Training, RunMatches]]:
    """Trainings that could be done in time, as they end, each matched with the human masks.

    Args:
        trainings: What to train, in this order.
        predict: Trains one, or finds it done; returns its predictions on the validation images.
        options: Of `add_training_options`. What fails is told; the others are worth having.
    """
    started = time.monotonic()
    spawn = multiprocessing.get_context("spawn")

    def work(training: Training) -> tuple[Training, RunMatches]:
        if options.limit and time.monotonic() - started > options.limit:
            raise TimeoutError(f"{training.folder(options.out)}: {options.limit} s are over.")
        truth, predictions = training.data.val.annotations, predict(training)
        return training, scoring.submit(match_run, truth, predictions).result()

    with (
        ProcessPoolExecutor(options.jobs, mp_context=spawn) as scoring,
        ThreadPoolExecutor(options.jobs) as running,
    ):
        for future in as_completed([running.submit(work, training) for training in trainings]):
            if (error := future.exception()) is not None:
                say(error)
                continue
            training, matches = future.result()
            metrics, place = matches.metrics(), training.folder(options.out)
            say(f"{place}: AP {metrics.ap}, boundary AP {metrics.ap_boundary}")
            yield training, matches


def say(what: object) -> None:
    """A line, at once."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def train(training: Training, labels: Path, recipe: SegmenterConfig, out: Path) -> Path:
    """One training as phase 2 does it; its predictions on the validation images."""
    folder = training.folder(out)
    if (folder / PREDICTIONS_FILE).is_file():
        return folder / PREDICTIONS_FILE
    truth = parse_coco(training.data.train.annotations)
    job = SegmenterJob(
        recipe=recipe,
        train=SplitConfig(images=training.data.train.images, annotations=labels),
        val=training.data.val,
        seed=training.seed,
        most_objects=most_objects(truth),
        sizes=measure_sizes(truth),
    )
    run = train_segmenter(job, folder, on_line=lambda _line: None)
    for checkpoint in folder.glob("iter_*.pth"):
        checkpoint.unlink()
    return run.predictions


def named_file(texts: Iterable[str], data: Data) -> Path | None:
    """The file of a data set among NAME=FILE."""
    found = dict(text.split("=", 1) for text in texts).get(data.name)
    return None if found is None else Path(found)


def labeler(data: Data, folder: Path, options: argparse.Namespace) -> Path:
    """The checkpoint that the command line gives for a data set, else one trained here."""
    return named_file(options.checkpoints, data) or train_labeler(data, folder, options)


def paper_labeler(options: argparse.Namespace) -> MalConfig:
    """The paper's losses and plain labels, at the sizes and rates of the command line's recipe."""
    ours = labeler_recipe(options.labeler)
    same = ("crop_size", "batch_size", "max_steps", "learning_rate", "precision", "num_workers")
    return labeler_recipe("paper", **{name: getattr(ours, name) for name in same})


def train_labeler(
    data: Data, folder: Path, options: argparse.Namespace, mal: MalConfig | None = None
) -> Path:
    """Phase 1 on the boxes of the training split; its checkpoint.

    Args:
        data: The data set.
        folder: Where it is made, once.
        options: Of `add_labeler_options`.
        mal: In place of the recipe of the command line.
    """
    checkpoint = folder / "labeler" / "checkpoint.pth"
    if checkpoint.is_file():
        return checkpoint
    weights, steps = options.encoder_weights, options.labeler_steps
    given = {} if weights is None else {"weights": weights}
    length = {} if steps is None else {"max_steps": steps}
    recipe = mal or labeler_recipe(options.labeler)
    job = TrainJob(
        images=data.train.images,
        boxes=write_boxes(data.train, folder / "boxes.json"),
        strict=False,
        encoder=encoder_recipe(options.encoder, **given),
        mal=replace(recipe, trackers=(), **length),
        seed=0,
        output_dir=checkpoint.parent,
    )
    train_in_child(job, on_line=lambda _line: None)
    return checkpoint


def labeled(data: Data, checkpoint: Path, folder: Path) -> dict[str, Any]:
    """The training split with masks of a labeler; boxes without a mask are left out."""
    from mal_core.models.checkpoints import load_labeler

    output = folder / "labeled" / "train.json"
    if not output.is_file():
        _, settings = load_labeler(checkpoint)
        job = LabelJob(
            images=data.train.images,
            annotations=write_boxes(data.train, folder / "boxes.json"),
            strict=False,
            checkpoint=checkpoint,
            mal=settings,
            output=output,
            ledger=folder / "labeled" / "skipped.json",
        )
        label_in_child(job, on_line=lambda _line: None)
    return with_pixels(parse_coco(output))


def with_pixels(content: Mapping[str, Any]) -> dict[str, Any]:
    """Annotations whose masks cover a pixel, polygons as they are."""
    return {**content, "annotations": [ann for ann in content["annotations"] if _has_pixels(ann)]}


def _has_pixels(ann: Mapping[str, Any]) -> bool:
    segmentation = ann.get("segmentation")
    if segmentation is None or not is_mask(segmentation):
        return False
    if isinstance(segmentation, list):
        return True
    return bool(segmentation_to_mask(segmentation, *segmentation["size"]).any())
