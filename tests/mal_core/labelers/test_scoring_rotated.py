"""Masks of rotated boxes are scored along the axes of their boxes, as labeling scores them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from mal_core.labelers.bake_off import BakeOff, Drawn, Entrant
from mal_core.labelers.recipes import drawer_recipe
from mal_core.labelers.registry import DRAWERS
from mal_core.labelers.scoring import score_file
from mal_core.labeling.mask_writer import MaskWriter
from mal_core.labeling.protocol import Photo
from mal_core.labeling.upright import upright_outcomes
from mal_core.models.checkpoints import load_labeler
from mal_core.types import BoxAnnotation, ImageRecord, PseudoLabel, Rle
from tests.mal_core.labelers.test_bake_off import rotated_dataset
from tests.mal_core.models.test_export import write_checkpoint

NAMES = ("box", "ellipse")


def test_scores_of_a_file_are_those_that_its_labeler_gave(tmp_path):
    entrants = [Entrant(name=name, drawer=DRAWERS[name](drawer_recipe(name))) for name in NAMES]
    drawn = BakeOff(entrants).run(rotated_dataset(tmp_path), 8)
    for place, name in enumerate(NAMES):
        scored = scored_file(tmp_path, write_labels(tmp_path, drawn, place))
        for shown, entry in zip(drawn.shown, scored, strict=True):
            told = shown.scores[place]
            # What an ellipse has beyond the border of its photo is lost there.
            cut_off = name == "ellipse" and entry["id"] % 10 == 4
            tolerance = 0.08 if cut_off else 0.01 * (shown.box.corners is not None)
            assert entry["score"] == pytest.approx(told, abs=tolerance + 1e-4), (name, entry["id"])


def test_a_labeler_that_is_asked_looks_along_the_axes_of_the_box(tmp_path):
    """Its own masks, turned back into the photo, are still its own."""
    torch.manual_seed(0)
    checkpoint = write_checkpoint(tmp_path / "checkpoint.pth", mask_threshold=0.3)
    dataset = rotated_dataset(tmp_path)
    writer = MaskWriter(*load_labeler(checkpoint))
    photos = [
        Photo(
            record=record,
            boxes=tuple(box for box in dataset.boxes if box.image_id == record.image_id),
            source=tmp_path,
        )
        for record in dataset.images
    ]
    outcomes = upright_outcomes(writer.outcomes, photos)
    masks = [one.rle for one in outcomes if isinstance(one, PseudoLabel)]
    labels = write_file(tmp_path, dataset.images, list(zip(dataset.boxes, masks, strict=True)))
    for entry in scored_file(tmp_path, labels, checkpoint):
        cut_off = entry["id"] % 10 == 4
        assert entry["score_components"]["agreement"] > (0.8 if cut_off else 0.97), entry["id"]


def scored_file(folder: Path, labels: Path, checkpoint: Path | None = None) -> list[dict[str, Any]]:
    score_file(labels, folder, folder / "scored.json", checkpoint=checkpoint)
    scored: list[dict[str, Any]] = json.loads((folder / "scored.json").read_text())["annotations"]
    return scored


def write_labels(folder: Path, drawn: Drawn, place: int) -> Path:
    records = {one.record.image_id: one.record for one in drawn.shown}
    masks = [mask for one in drawn.shown if (mask := one.masks[place]) is not None]
    boxes = [one.box for one in drawn.shown]
    return write_file(folder, records.values(), list(zip(boxes, masks, strict=True)))


def write_file(
    folder: Path, records: Iterable[ImageRecord], masks: Iterable[tuple[BoxAnnotation, Rle]]
) -> Path:
    entries = []
    for box, mask in masks:
        x0, y0, x1, y1 = box.box_xyxy
        entry: dict[str, Any] = {
            "id": box.annotation_id,
            "image_id": box.image_id,
            "category_id": 1,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": (x1 - x0) * (y1 - y0),
            "iscrowd": 0,
            "segmentation": mask,
        }
        if box.corners is not None:
            entry["rotated_box"] = list(box.corners)
        entries.append(entry)
    images = [
        {"id": one.image_id, "file_name": one.file_name, "width": one.width, "height": one.height}
        for one in records
    ]
    categories = [{"id": 1, "name": "a"}]
    path = folder / "labels.json"
    content = {"images": images, "annotations": entries, "categories": categories}
    path.write_text(json.dumps(content))
    return path
