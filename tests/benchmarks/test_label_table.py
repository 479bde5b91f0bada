"""The table of labels: labels of known quality are made, and what they keep is told in order."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import label_table
from benchmarks.label_table import HUMAN, Data, Training
from mal_core.config import SplitConfig
from mal_core.evaluation.compared_arms import match_run
from scenes.write import write_scenes


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, num_train=3, num_val=3, size=96, seed=0)
    train, val = (
        SplitConfig(
            images=folder / split / "images", annotations=folder / split / "annotations.json"
        )
        for split in ("train", "val")
    )
    return Data(name="scenes", train=train, val=val)


def labels(data: Data, name: str, out: Path) -> Path:
    path = out / f"{name}.json"
    path.write_text(json.dumps(label_table._made(data, name)))
    return path


def predictions(annotations: Path, out: Path) -> Path:
    """A file's own masks as detections."""
    found = [
        {**ann, "score": 0.9}
        for ann in json.loads(annotations.read_text())["annotations"]
        if not ann["iscrowd"]
    ]
    path = out / f"found-{annotations.stem}.json"
    path.write_text(json.dumps(found))
    return path


def test_rows_tell_what_labels_keep_and_how_good_they_are(data: Data, tmp_path: Path) -> None:
    made = {name: labels(data, name, tmp_path) for name in (HUMAN, "eroded 1 px", "ellipses")}
    table, truth = label_table.Table(tmp_path), data.train.annotations
    for name in ("ellipses", HUMAN, "eroded 1 px"):
        cell = Training(data=data, labels=name, recipe="perfect", seed=0)
        table.add(cell, match_run(truth, predictions(made[name], tmp_path)), made[name])
    rows: list[dict[str, Any]] = table.rows()
    assert [row["labels"] for row in rows] == [HUMAN, "ellipses", "eroded 1 px"]
    human, ellipses, eroded = rows
    assert human["kept"]["AP"] == human["kept"]["APbnd"] == human["mask_iou"] == 1
    assert human["boundary_iou"] == 1
    assert ellipses["kept"]["AP"] < eroded["kept"]["AP"] < 1
    assert ellipses["boundary_iou"] < eroded["boundary_iou"] < 1
    written = (tmp_path / "table.md").read_text()
    assert written.count("\n") == 5
    assert "100.0 [100, 100]" in written


def test_labels_without_a_pixel_are_left_out(data: Data) -> None:
    content = label_table._made(data, "eroded 1 px")
    entry = content["annotations"][0]
    assert label_table._has_pixels(entry, content)
    height, width = entry["segmentation"]["size"]
    empty = {"size": [height, width], "counts": [height * width]}
    assert not label_table._has_pixels({**entry, "segmentation": empty}, content)
    assert not label_table._has_pixels({"id": 1}, content)
