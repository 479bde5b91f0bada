"""Scores for the masks of any labeled file."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from mal_core import load_labeler
from mal_core.data.coco import read_boxes
from mal_core.data.images.loading import load_image
from mal_core.errors import DatasetError
from mal_core.geometry.masks import mask_to_rle
from mal_core.labelers.scoring import score_file
from mal_core.labeling import trial
from mal_core.labeling.mask_writer import MaskWriter
from mal_core.labeling.work import generate_pseudo_labels
from mal_core.models import checkpoints as core_checkpoints
from mal_core.quality.score import default_model, quality_of, without_opinion
from tests.mal_core.models.test_export import write_checkpoint


def write_labels(folder: Path, *, masks: bool = True) -> Path:
    """Two bright squares: one with its own mask, one with its filled box and more; and a crowd."""
    image = np.full((100, 160, 3), 40, np.uint8)
    y, x = np.mgrid[:100, :160]
    for left in (10, 80):
        image[np.hypot(y - 50, x - left - 30) < 30] = (60, 200, 220)
    (folder / "images").mkdir(parents=True)
    cv2.imwrite(str(folder / "images" / "a.png"), image)
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    disk = np.stack([40 + 30 * np.cos(angles), 50 + 30 * np.sin(angles)], 1).ravel().tolist()
    box = [80, 20, 140, 20, 140, 80, 80, 80]
    entries = [
        {"id": 1, "bbox": [10, 20, 60, 60], "segmentation": [disk], "iscrowd": 0},
        {"id": 2, "bbox": [80, 20, 60, 60], "segmentation": [box], "iscrowd": 0, "note": "kept"},
        {"id": 3, "bbox": [0, 0, 160, 100], "segmentation": [box], "iscrowd": 1},
    ]
    for entry in entries:
        entry |= {"image_id": 1, "category_id": 1, "area": 3000}
        if not masks:
            entry.pop("segmentation")
    images = [{"id": 1, "file_name": "a.png", "height": 100, "width": 160}]
    content = {"images": images, "annotations": entries, "categories": [{"id": 1, "name": "a"}]}
    path = folder / "labels.json"
    path.write_text(json.dumps(content))
    return path


def test_every_mask_gets_a_score_and_all_else_stays(tmp_path):
    labels = write_labels(tmp_path)
    found = score_file(labels, tmp_path / "images", tmp_path / "out.json")
    old, new = (
        json.loads(path.read_text())["annotations"] for path in (labels, found_at(tmp_path))
    )
    right, filled, crowd = new
    assert right["score"] > filled["score"]
    assert {"fill", "contrast"} <= right["score_components"].keys()
    assert {key: filled[key] for key in old[1]} == old[1]
    assert crowd == old[2]
    assert (found.scored, found.human, found.crowds, found.bare) == (2, 0, 1, ())
    assert found.summary().startswith("2 masks scored, ")
    assert found.summary().endswith("; 1 crowds are as they were")


def test_masks_of_humans_keep_their_score_and_one_that_is_gone_has_none(tmp_path):
    labels = write_labels(tmp_path)
    score_file(labels, tmp_path / "images", found_at(tmp_path))
    content = json.loads(found_at(tmp_path).read_text())
    human, gone, _ = content["annotations"]
    human |= {"source": "human", "score": 1.0, "score_interval": [1.0, 1.0]}
    human.pop("score_components")
    gone["segmentation"] = [[1, 2, 3]]
    third = {**human, "id": 4, "source": "model", "bbox": [5, 5, 20, 20]}
    content["annotations"].append({**third, "segmentation": [[5, 5, 25, 5, 25, 25, 5, 25]]})
    content["annotations"].append({**gone, "id": 5, "score_components": {}, "score": 0.9})
    content["annotations"][-1].pop("score_components")
    labels.write_text(json.dumps(content))
    found = score_file(labels, tmp_path / "images", found_at(tmp_path))
    new = {ann["id"]: ann for ann in json.loads(found_at(tmp_path).read_text())["annotations"]}
    assert new[1] == human
    assert not {"score", "score_interval", "score_components"} & new[2].keys()
    assert new[5]["score"] == 0.9, "perhaps a detector's, of the box"
    assert new[4]["score"] < 1
    assert found.summary().endswith(
        "; 1 of humans (source: human) keep their score; 1 crowds are as they were; "
        "2 without a mask or a box have no score: annotations 2, 5"
    )


def test_a_file_of_human_masks_only_is_refused(tmp_path):
    labels = write_labels(tmp_path)
    content = json.loads(labels.read_text())
    for entry in content["annotations"]:
        entry["source"] = "human"
    labels.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="no annotation has a mask that a machine drew"):
        score_file(labels, tmp_path / "images", tmp_path / "out.json")


def found_at(folder: Path) -> Path:
    return folder / "out.json"


def test_a_file_without_masks_is_refused(tmp_path):
    labels = write_labels(tmp_path, masks=False)
    with pytest.raises(DatasetError, match="no annotation has a mask"):
        score_file(labels, tmp_path / "images", tmp_path / "out.json")


def test_a_second_opinion_is_heard_as_far_as_it_can_be_trusted(tmp_path):
    labels = write_labels(tmp_path)
    torch.manual_seed(0)
    checkpoint = write_checkpoint(tmp_path / "checkpoint.pth", mask_threshold=0.3)
    content = json.loads(labels.read_text())
    own, _, _ = content["annotations"]
    image = load_image(tmp_path / "images" / "a.png")
    mask = load_labeler(checkpoint).label(image, np.array([[10, 20, 70, 80]])).masks[0]
    own["segmentation"] = mask_to_rle(mask.astype(np.uint8))
    labels.write_text(json.dumps(content))
    score_file(labels, tmp_path / "images", found_at(tmp_path), checkpoint=checkpoint)
    own, other, _ = json.loads(found_at(tmp_path).read_text())["annotations"]
    assert own["score_components"]["agreement"] == 1
    assert own["score"] == own["score_components"]["opinion"] == score_alone(own)
    agreement, opinion = (other["score_components"][name] for name in ("agreement", "opinion"))
    assert agreement < 1
    trust = opinion**0.5
    told = trust * opinion * agreement + (1 - trust) * score_alone(other)
    assert other["score"] == pytest.approx(told, abs=1e-4)
    calibrated = without_opinion(other["score_components"])
    assert "opinion" not in calibrated
    assert quality_of(calibrated, default_model("labels")).score == score_alone(other)


@pytest.mark.parametrize("settle", [False, True])
def test_labels_asked_about_by_their_own_labeler_keep_the_scores_fitted_to_its_photos(
    tmp_path, monkeypatch, settle
):
    for name, least in (("FEWEST_COMPOSITES", 8), ("LABELS_PER_COMPOSITE", 2)):
        monkeypatch.setattr(trial, name, least)
    monkeypatch.setattr(trial, "SOURCES_PER_COMPOSITE", 1)
    source, images = write_photos(tmp_path, 12)
    torch.manual_seed(0)
    changes = {"mask_threshold": 0.2, "settle_overlaps": settle}
    checkpoint = write_checkpoint(tmp_path / "checkpoint.pth", **changes)
    writer = MaskWriter(*core_checkpoints.load_labeler(checkpoint))
    labels, ledger = tmp_path / "labels" / "train.json", tmp_path / "labels" / "skipped.json"
    dataset = read_boxes(images, source)
    generate_pseudo_labels(dataset, writer, source=source, output=labels, ledger=ledger)
    score_file(labels, images, found_at(tmp_path), checkpoint=checkpoint)
    before, after = (
        {ann["id"]: ann for ann in json.loads(path.read_text())["annotations"]}
        for path in (labels, found_at(tmp_path))
    )
    assert len(after) > 20
    assert {ann["score_components"]["agreement"] for ann in after.values()} == {1}
    images_of = [ann["image_id"] for ann in after.values()]
    drawn = [key for key, ann in after.items() if images_of.count(ann["image_id"]) == 2]
    assert len(drawn) > 10
    fitted = np.array([before[key]["score"] for key in drawn])
    components = [before[key]["score_components"] for key in drawn]
    library = [quality_of(row, writer.quality).score for row in components]
    assert np.abs(fitted - library).min() > 0.005
    assert [after[key]["score"] for key in drawn] == pytest.approx(fitted, abs=1e-3)


def write_photos(folder: Path, count: int) -> tuple[Path, Path]:
    """COCO boxes of two discs that overlap on each photo, and their folder."""
    generator = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    y, x = np.mgrid[:96, :128]
    records, entries = [], []
    for index in range(count):
        image = np.full((96, 128, 3), generator.integers(0, 255, 3), np.uint8)
        for place in range(2):
            radius, left = int(generator.integers(16, 30)), 40 + 36 * place
            image[np.hypot(y - 48, x - left) < radius] = generator.integers(0, 255, 3)
            box = [left - radius, 48 - radius, 2 * radius, 2 * radius]
            entry = {"id": len(entries) + 1, "image_id": index, "category_id": 1, "bbox": box}
            entries.append(entry | {"area": box[2] * box[3], "iscrowd": 0})
        cv2.imwrite(str(folder / "images" / f"{index}.png"), image)
        records.append({"id": index, "file_name": f"{index}.png", "height": 96, "width": 128})
    classes = [{"id": 1, "name": "a"}]
    source = folder / "boxes.json"
    source.write_text(
        json.dumps({"images": records, "annotations": entries, "categories": classes})
    )
    return source, folder / "images"


def score_alone(entry: dict[str, Any]) -> float:
    return quality_of(without_opinion(entry["score_components"]), default_model("labels")).score
