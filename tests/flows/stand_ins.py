"""A pipeline whose trainings are stand-ins that note what was asked for."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.settings import composing
from flows.stages import graph
from flows.stages.run import Run
from flows.store import code_version
from flows.store.stage_names import SEGMENT
from mal_core.config import EncoderConfig
from mal_core.geometry.masks import box_to_rle
from mal_core.jobs import encoder_check, phase1
from mal_core.types import PseudoLabelSet

TRAIN, LABEL, HUMAN, PSEUDO = "train", "label", "human masks", "pseudo-labels"
PHASE_2 = {HUMAN, PSEUDO}
EVERYTHING = {TRAIN, LABEL, *PHASE_2}
NOTHING: set[str] = set()


class StandIns:
    """Writes what the trainings would leave, and notes what was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.encoders: list[str] = []
        monkeypatch.setattr(phase1, "train_in_child", self.train)
        monkeypatch.setattr(phase1, "label_in_child", self.label)
        monkeypatch.setattr(encoder_check, "check_in_child", self.look_at_encoder)
        monkeypatch.setattr("flows.workers.side_by_side.train_arm", self.segment)

    def train(self, job: phase1.TrainJob) -> None:
        self.asked.append(TRAIN)
        assert "segmentation" not in job.boxes.read_text()
        weights = job.encoder.weights
        pretrained = b"" if weights is None else weights.read_bytes()
        guide = b"" if job.mal.guide is None else job.mal.guide.read_bytes()
        mal = dataclasses.replace(job.mal, guide=None)
        text = f"{mal} {job.seed} {job.boxes.read_text()} {pretrained!r} {guide!r}"
        (job.output_dir / "checkpoint.pth").write_text(text)
        (job.output_dir / "scalars.jsonl").touch()
        (job.output_dir / "train.log").touch()

    def look_at_encoder(self, encoder: EncoderConfig, _crop_size: int) -> None:
        self.encoders.append(encoder.name)

    def label(self, job: phase1.LabelJob) -> PseudoLabelSet:
        self.asked.append(LABEL)
        content = json.loads(job.annotations.read_text())
        by = job.labeler if job.checkpoint is None else job.checkpoint.read_bytes()
        digest = hashlib.sha256(f"{by!r} {job.mal}".encode()).hexdigest()
        sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
        for entry in content["annotations"]:
            x, y, width, height = entry["bbox"]
            box_xyxy = np.array([x, y, x + width, y + height])
            rle = box_to_rle(box_xyxy, *sizes[entry["image_id"]])
            entry.update(segmentation=rle, area=width * height, score=0.5, made_by=digest)
        job.output.write_text(json.dumps(content))
        job.ledger.write_text("[]")
        count = len(content["annotations"])
        return PseudoLabelSet(
            annotations=job.output,
            ledger=job.ledger,
            num_boxes=count,
            num_masks=count,
            num_crowds=0,
            num_skipped={},
        )

    def segment(self, *_: Any, folder: Path, title: str, **__: Any) -> None:
        self.asked.append(title)
        files = {"predictions.json": "[]", "config.py": f"title = {title!r}\n"}
        files |= {
            "detections.json": '{"per_image": 50}',
            "scalars.jsonl": "",
            "last_checkpoint": "iter_1.pth",
            "iter_1.pth": "",
        }
        for name, text in files.items():
            (folder / name).write_text(text)


class Pipeline:
    """A dataset of its own, and what a run up to the segmenters computes."""

    def __init__(self, root: Path, drawn: Path, stand_ins: StandIns) -> None:
        self.root = root
        self.data = root / "data"
        self.stand_ins = stand_ins
        shutil.copytree(drawn, self.data)

    @property
    def annotations(self) -> Path:
        return self.data / "train" / "annotations.json"

    def run(self, *overrides: str, force: tuple[str, ...] = ()) -> set[str]:
        """Stages that computed something."""
        self.stand_ins.asked.clear()
        graph.perform(Run(self.config(*overrides), force=force), SEGMENT)
        return set(self.stand_ins.asked)

    def config(self, *overrides: str) -> Any:
        return composing.compose([*self.overrides, *overrides])

    @property
    def overrides(self) -> list[str]:
        places = [
            f"data.{split}.{key}={self.data / split / name}"
            for split in ("train", "val")
            for key, name in (("images", "images"), ("annotations", "annotations.json"))
        ]
        return [*places, f"store={self.root / 'store'}", f"workdir={self.root / 'w'}"]

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        content = json.loads(self.annotations.read_text())
        change(content)
        self.annotations.write_text(json.dumps(content))


class Painter:
    """Work that counts how often it is done."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, folder: Path) -> None:
        self.count += 1
        (folder / "inner").mkdir(exist_ok=True)
        (folder / "inner" / "picture.txt").write_text("a tree")
        (folder / "notes.txt").write_text("green")
        (folder / "empty.txt").touch()


def forget_sources() -> None:
    """Make code versions look at the sources again."""
    for name in ("_closure", "imports_of", "_known", "_look", "_find", "_recipe_digest"):
        getattr(code_version, name).cache_clear()
