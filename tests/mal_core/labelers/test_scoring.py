"""Scores for the masks of any labeled file."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from mal_core import load_labeler
from mal_core.data.images.loading import load_image
from mal_core.errors import DatasetError
from mal_core.geometry.masks import mask_to_rle
from mal_core.labelers.scoring import score_file
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
    assert (found.scored, found.left) == (2, 1)
    assert "2 masks scored" in found.summary()


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


def score_alone(entry: dict[str, Any]) -> float:
    return quality_of(without_opinion(entry["score_components"]), default_model("labels")).score
