"""The pictures of what pseudo-labels cost: right objects, right order."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mal_core.geometry.masks import mask_to_rle, segmentation_to_mask
from mal_core.processes.files import write_json
from mal_core.report.failures import build_failures
from mal_core.report.gallery import HUMAN_COLOR, MASK_COLOR
from scenes.write import write_scenes

SIZE = 120


@pytest.fixture(scope="module")
def val(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("failures") / "scenes"
    write_scenes(folder, num_train=1, num_val=6, size=SIZE, seed=2)
    return folder / "val"


def results_for(val: Path, output: Path, *, lost: int = -1, shrunk: int = -1) -> Path:
    """Perfect predictions but for one object that is missing and one that is eroded."""
    results = []
    for entry in objects(val):
        if entry["id"] == lost:
            continue
        mask = segmentation_to_mask(entry["segmentation"], SIZE, SIZE)
        if entry["id"] == shrunk:
            mask = cv2.erode(mask, np.ones((9, 9), np.uint8))
        known = {key: entry[key] for key in ("image_id", "category_id")}
        results.append({**known, "segmentation": mask_to_rle(mask), "score": 0.9})
    write_json(output, results)
    return output


def objects(val: Path) -> list[dict]:
    content = json.loads((val / "annotations.json").read_text())
    return [entry for entry in content["annotations"] if not entry.get("iscrowd")]


def test_what_only_human_masks_found_comes_first(val, tmp_path):
    lonely = only_of_its_class(val)
    shrunk = next(entry for entry in objects(val) if entry["id"] != lonely["id"])
    arms = {
        "human": results_for(val, tmp_path / "h.json"),
        "pseudo": results_for(val, tmp_path / "p.json", lost=lonely["id"], shrunk=shrunk["id"]),
    }
    rows = build_failures(val / "annotations.json", val / "images", arms, shown=3)
    assert [row.title.rsplit(" ", 1)[1] for row in rows[:2]] == [
        str(lonely["id"]),
        str(shrunk["id"]),
    ]
    captions = [item.caption for item in rows[0].items]
    assert captions[0] == "human mask"
    assert captions[1] == "trained on human masks: IoU 1.00"
    assert captions[2] == "trained on pseudo-labels: nothing found"


def only_of_its_class(val: Path) -> dict:
    """An object that no other of its class and image can be taken for."""
    counts: dict[tuple[int, int], int] = {}
    for entry in objects(val):
        key = entry["image_id"], entry["category_id"]
        counts[key] = counts.get(key, 0) + 1
    return next(e for e in objects(val) if counts[e["image_id"], e["category_id"]] == 1)


def test_a_prediction_nobody_would_keep_finds_nothing(val, tmp_path):
    lonely = only_of_its_class(val)
    path = results_for(val, tmp_path / "p.json", lost=lonely["id"])
    results = json.loads(path.read_text())
    known = {key: lonely[key] for key in ("image_id", "category_id")}
    corner = np.zeros((SIZE, SIZE), np.uint8)
    corner[:2, :2] = 1
    for score in (0.8, 0.7):
        results.append({**known, "segmentation": mask_to_rle(corner), "score": score})
    mask = segmentation_to_mask(lonely["segmentation"], SIZE, SIZE)
    results.append({**known, "segmentation": mask_to_rle(mask), "score": 0.01})
    write_json(path, results)
    arms = {"human": results_for(val, tmp_path / "h.json"), "pseudo": path}
    first = build_failures(val / "annotations.json", val / "images", arms, shown=1)[0]
    assert "IoU 1.00" not in first.items[2].caption


def test_pictures_show_prediction_and_human_outline_right_way_up(val, tmp_path):
    arms = {"pseudo": results_for(val, tmp_path / "p.json")}
    row = build_failures(val / "annotations.json", val / "images", arms, shown=1)[0]
    assert len(row.items) == 2
    tile = cv2.imdecode(np.frombuffer(row.items[1].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert max(tile.shape[:2]) == pytest.approx(180, abs=1)
    seen = tile[:, :, ::-1].astype(int)
    for color in (HUMAN_COLOR,):
        assert (np.abs(seen - color).sum(axis=2) < 120).any(), color
    assert MASK_COLOR != HUMAN_COLOR
