"""Is MAL guided by another labeler's masks better than that labeler, and than MAL alone?

    python -m benchmarks.guided runs/guided --data persons=DIR --encoder-weights FILE \
        [--photos 200] [--steps 160] [--crop 128] [--guides 0.6 0.7 0.8 0.9 grabcut]

DIR holds `images/` and `annotations/instances_{train,val}.json`. A guide is a number, human masks
degraded to that mean IoU (`benchmarks.degraded_masks`), or a labeler that needs no training. The
training from boxes is the same for all and done once; each guide has its round of self-training
from there. Labels are drawn by the networks alone, on the training photos, whose objects the
guides knew, and on the validation photos, of which nobody knew anything. Leaves table.md and
table.json, written after every guide; started again it goes on where it stopped.
"""

import argparse
import dataclasses
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.datasets import Data, read_data, write_boxes
from benchmarks.degraded_masks import degraded
from mal_core.config import MalConfig, SplitConfig
from mal_core.evaluation.agreement import measure_agreement
from mal_core.geometry.masks import mask_to_rle, segmentation_to_mask
from mal_core.jobs.phase1 import LabelJob, TrainJob, label_in_child, train_in_child
from mal_core.labelers.recipes import drawer_recipe, encoder_recipe, labeler_recipe
from mal_core.processes import progress
from mal_core.processes.files import write_json
from mal_core.report.text_tables import markdown_table

ALONE = "boxes alone"
SPREAD = 2.0
"""A guide of mean IoU q has masks of IoU 1 - 2 (1 - q) to 1, evenly."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One data set, cut to the photos that are used, and how networks are trained on it."""

    data: Data
    folder: Path
    mal: MalConfig
    weights: Path

    @property
    def start(self) -> Path:
        """The state of the training from boxes at its end, before its round."""
        return self.folder / "before_the_round.pth"


def main() -> None:
    """Train, label and compare; write the table after every guide."""
    options = _options()
    rows: list[dict[str, Any]] = []
    for text in options.data:
        bench = _bench(read_data(text), options)
        alone: list[list[float]] = []
        for guide in (ALONE, *options.guides):
            row, found = _measured(bench, guide)
            alone = alone or found
            gains = [_gain(one, other) for one, other in zip(found, alone, strict=True)]
            rows.append({**row, "gain_and_95": gains})
            sys.stdout.write(f"{rows[-1]}\n")
            sys.stdout.flush()
            write_json(options.out / "table.json", rows, indent=1)
            (options.out / "table.md").write_text(_table(rows) + "\n")
    sys.stdout.write(_table(rows) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=lambda text: Path(text).absolute())
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME=DIR")
    parser.add_argument("--encoder-weights", type=lambda text: Path(text).absolute(), required=True)
    parser.add_argument("--guides", nargs="+", default=["0.6", "0.7", "0.8", "0.9", "grabcut"])
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--crop", type=int, default=128)
    return parser.parse_args()


def _bench(data: Data, options: argparse.Namespace) -> Bench:
    folder = options.out / data.name
    folder.mkdir(parents=True, exist_ok=True)
    train, val = (
        SplitConfig(images=split.images, annotations=_first(split, folder / name, options.photos))
        for split, name in ((data.train, "train.json"), (data.val, "val.json"))
    )
    rounds = labeler_recipe().self_training
    mal = labeler_recipe(
        trackers=[],
        max_steps=options.steps,
        crop_size=options.crop,
        self_training={**dataclasses.asdict(rounds), "label_crop_size": 3 * options.crop // 2},
        num_workers=0,
    )
    cut = Data(name=data.name, train=train, val=val)
    return Bench(data=cut, folder=folder, mal=mal, weights=options.encoder_weights)


def _first(split: SplitConfig, target: Path, photos: int) -> Path:
    """The annotations of the first photos."""
    content = json.loads(split.annotations.read_text())
    content["images"] = content["images"][:photos]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] in kept]
    write_json(target, content)
    return target


def _gain(ious: Sequence[float], alone: Sequence[float]) -> list[float]:
    """Mean of the paired differences, and half its 95 % interval."""
    differences = np.array(ious) - np.array(alone)
    half = 1.96 * float(differences.std(ddof=1)) / len(differences) ** 0.5
    return [round(float(differences.mean()), 4), round(half, 4)]


def _measured(bench: Bench, guide: str) -> tuple[dict[str, Any], list[list[float]]]:
    """A row, and the IoU of each object of the training photos and of the others."""
    folder = bench.folder / guide.replace(" ", "_")
    boxes = write_boxes(bench.data.train, bench.folder / "train_boxes.json")
    file = None if guide == ALONE else _guide_file(bench, guide, boxes, folder)
    checkpoint = folder / "labeler" / "checkpoint.pth"
    if not checkpoint.is_file():
        _train(bench, boxes, file, checkpoint.parent)
    train, val = (
        _ious(_labels(bench, checkpoint, split, folder / name), split)
        for name, split in (("train", bench.data.train), ("val", bench.data.val))
    )
    given = [] if file is None else _ious(file, bench.data.train)
    row = {
        "data": bench.data.name,
        "guide": guide,
        "objects": [len(train), len(val)],
        "guide_iou": round(fmean(given), 4) if given else None,
        "train_iou": round(fmean(train), 4),
        "val_iou": round(fmean(val), 4),
    }
    return row, [train, val]


def _train(bench: Bench, boxes: Path, guide: Path | None, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if guide is not None and not (folder / "state.pth").is_file():
        shutil.copy(bench.start, folder / "state.pth")

    def keep_start(title: str, *_: object) -> None:
        if "label for round" in title and guide is None and not bench.start.is_file():
            shutil.copy(folder / "state.pth", bench.start)

    job = TrainJob(
        images=bench.data.train.images,
        boxes=boxes,
        strict=False,
        encoder=encoder_recipe("deit_tiny", weights=bench.weights),
        mal=dataclasses.replace(bench.mal, guide=guide),
        seed=0,
        output_dir=folder,
    )
    progress.listeners.append(keep_start)
    train_in_child(job)
    progress.listeners.remove(keep_start)


def _guide_file(bench: Bench, guide: str, boxes: Path, folder: Path) -> Path:
    file = folder / "guide.json"
    if file.is_file():
        return file
    folder.mkdir(parents=True, exist_ok=True)
    if not guide.startswith("0."):
        job = _label_job(bench, boxes, bench.data.train, file)
        label_in_child(dataclasses.replace(job, labeler=drawer_recipe(guide)))
        return file
    content = json.loads(bench.data.train.annotations.read_text())
    content["annotations"] = list(_degraded(content, float(guide)))
    write_json(file, content)
    return file


def _degraded(content: dict[str, Any], mean: float) -> Iterator[dict[str, Any]]:
    size = {one["id"]: (one["height"], one["width"]) for one in content["images"]}
    for entry in content["annotations"]:
        seed = (7, entry["id"])
        mask = segmentation_to_mask(entry["segmentation"], *size[entry["image_id"]]) > 0
        if entry.get("iscrowd") or not mask.any():
            yield entry
            continue
        wanted = 1 - np.random.default_rng(seed).uniform(0, SPREAD * (1 - mean))
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        inside = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        worse = np.zeros_like(mask)
        worse[inside] = degraded(mask[inside], wanted, seed)
        yield {**entry, "segmentation": mask_to_rle(worse)}


def _label_job(bench: Bench, boxes: Path, split: SplitConfig, output: Path) -> LabelJob:
    return LabelJob(
        images=split.images,
        annotations=boxes,
        strict=False,
        checkpoint=None,
        mal=bench.mal,
        output=output,
        ledger=output.with_name("skipped.json"),
    )


def _labels(bench: Bench, checkpoint: Path, split: SplitConfig, folder: Path) -> Path:
    output = folder / "labels.json"
    if not output.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        job = _label_job(bench, write_boxes(split, folder / "boxes.json"), split, output)
        label_in_child(dataclasses.replace(job, checkpoint=checkpoint))
    return output


def _ious(labels: Path, split: SplitConfig) -> list[float]:
    return [one.mask_iou for one in measure_agreement(labels, split.annotations).objects]


def _told(iou: float, gain: float, half: float) -> str:
    return f"{iou:.3f}" if half == 0 else f"{iou:.3f} ({gain:+.3f} ± {half:.3f})"


def _table(rows: Sequence[dict[str, Any]]) -> str:
    return markdown_table(
        [
            {
                "data": row["data"],
                "guide": row["guide"],
                "the guide": "" if row["guide_iou"] is None else f"{row['guide_iou']:.3f}",
                "MAL, training photos": _told(row["train_iou"], *row["gain_and_95"][0]),
                "MAL, other photos": _told(row["val_iou"], *row["gain_and_95"][1]),
            }
            for row in rows
        ]
    )


if __name__ == "__main__":
    main()
