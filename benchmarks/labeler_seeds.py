"""How good are the masks of the default labeler on photos that it has not seen, over seeds?

    python -m benchmarks.labeler_seeds runs/seeds --data nuclei=DIR persons=DIR \
        --encoder deit_tiny --encoder-weights FILE [--seeds 0 1 2] [--steps persons=250] \
        [--change persons=label_crop_size=320] [--jobs 2]

DIR holds `images/` and `annotations/instances_{train,val}.json`. Trains on the boxes of the
training split, as `mal train` does, labels the boxes of the other and compares with its human
masks. Leaves table.md and table.json, of all trainings that are done by then; started again
it goes on where it stopped.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import yaml

from benchmarks.datasets import Data, read_data, write_boxes
from mal_core.config import EncoderConfig
from mal_core.evaluation.agreement import measure_agreement
from mal_core.jobs.phase1 import LabelJob, TrainJob, label_in_child, train_in_child
from mal_core.labelers.recipes import encoder_recipe, labeler_recipe
from mal_core.processes.files import write_json
from mal_core.report.text_tables import markdown_table

BAD = 0.5
"""IoU below which a mask is of another thing, or of a part."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Of one labeler, over all objects of the split that it has not seen; IoU in [0, 1]."""

    data: str
    seed: int
    objects: int
    mask_iou: float
    boundary_iou: float
    bad: float
    train_s: float
    label_s: float


def main() -> None:
    """Train, label and compare; write the table after every labeler."""
    options = _options()
    out: Path = options.out.absolute()
    found: list[Quality] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        work = [
            pool.submit(_measure, data, seed, out, options)
            for seed in options.seeds
            for data in map(read_data, options.data)
        ]
        for future in as_completed(work):
            error = future.exception()  # the other labelers are worth having all the same
            sys.stdout.write(f"{future.result() if error is None else error}\n")
            sys.stdout.flush()
            if error is None:
                found.append(future.result())
                write_json(out / "table.json", [vars(one) for one in found], indent=1)
                (out / "table.md").write_text(f"{_table(found)}\n")
    sys.stdout.write(f"{_table(found)}\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME=DIR")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--encoder", default="deit_tiny", help="file of conf/encoder")
    parser.add_argument("--encoder-name", help="timm's name, in place of the file's")
    parser.add_argument("--encoder-weights", type=Path)
    parser.add_argument("--labeler", default="cpu", help="file of conf/mal")
    parser.add_argument("--steps", nargs="+", default=[], metavar="NAME=STEPS")
    parser.add_argument("--change", nargs="+", default=[], metavar="NAME=KEY=VALUE")
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


def _measure(data: Data, seed: int, out: Path, options: argparse.Namespace) -> Quality:
    folder = out / data.name / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    steps = dict(text.split("=") for text in options.steps)
    changes = _changes(data.name, options.change)
    if data.name in steps:
        changes["max_steps"] = int(steps[data.name])
    mal = labeler_recipe(options.labeler, trackers=[], **changes)
    started = time.monotonic()
    train_in_child(
        TrainJob(
            images=data.train.images,
            boxes=write_boxes(data.train, folder / "train_boxes.json"),
            strict=False,
            encoder=_encoder(options),
            mal=mal,
            seed=seed,
            output_dir=folder / "labeler",
        ),
        on_line=lambda _line: None,
    )
    trained = time.monotonic()
    job = LabelJob(
        images=data.val.images,
        annotations=write_boxes(data.val, folder / "val_boxes.json"),
        strict=False,
        checkpoint=folder / "labeler" / "checkpoint.pth",
        mal=mal,
        output=folder / "labeled" / "val.json",
        ledger=folder / "labeled" / "skipped.json",
    )
    label_in_child(job, on_line=lambda _line: None)
    labeled = time.monotonic()
    objects = measure_agreement(job.output, data.val.annotations).objects
    return Quality(
        data=data.name,
        seed=seed,
        objects=len(objects),
        mask_iou=fmean(one.mask_iou for one in objects),
        boundary_iou=fmean(one.boundary_iou for one in objects),
        bad=fmean(one.mask_iou < BAD for one in objects),
        train_s=trained - started,
        label_s=labeled - trained,
    )


def _encoder(options: argparse.Namespace) -> EncoderConfig:
    given: dict[str, Any] = {}
    if options.encoder_weights is not None:
        given["weights"] = options.encoder_weights.absolute()
    if options.encoder_name is not None:
        given["name"] = options.encoder_name
    return encoder_recipe(options.encoder, **given)


def _changes(name: str, texts: Iterable[str]) -> dict[str, Any]:
    split = [text.split("=", 2) for text in texts]
    return {key: yaml.safe_load(value) for data, key, value in split if data == name}


def _table(found: Sequence[Quality]) -> str:
    """One row per data set: the mean over seeds, and their standard deviation."""
    names = sorted({one.data for one in found})
    rows = [(name, [one for one in found if one.data == name]) for name in names]
    return markdown_table(
        [
            {
                "data": name,
                "objects": str(runs[0].objects),
                "seeds": str(len(runs)),
                "mask IoU": _spread([one.mask_iou for one in runs]),
                "boundary IoU": _spread([one.boundary_iou for one in runs]),
                f"IoU < {BAD}": _spread([one.bad for one in runs]),
            }
            for name, runs in rows
        ]
    )


def _spread(values: Sequence[float]) -> str:
    return f"{fmean(values):.3f} ± {pstdev(values):.3f}"


if __name__ == "__main__":
    main()
