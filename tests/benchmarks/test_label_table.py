"""The table of labels: labels of known quality are made, and what they keep is told in order."""

import json
from pathlib import Path

import pytest

from benchmarks import label_table, trainings
from benchmarks.compared_labels import HUMAN, Table, predictors
from benchmarks.datasets import Data
from benchmarks.trainings import Training
from tests.benchmarks.conftest import Found


def labels(data: Data, name: str, out: Path) -> Path:
    path = out / f"{name}.json"
    path.write_text(json.dumps(label_table._made(data, name)))
    return path


def test_rows_tell_what_labels_keep_and_how_good_they_are(
    data: Data, found: Found, tmp_path: Path
) -> None:
    made = {name: labels(data, name, tmp_path) for name in (HUMAN, "eroded 1 px", "ellipses")}
    table, truth = Table(tmp_path, label_table.LABELS), data.train.annotations
    for name in ("ellipses", HUMAN, "eroded 1 px"):
        cell = Training(data=data, labels=name, recipe="perfect", seed=0)
        table.add(cell, found(truth, made[name], 1.0), made[name])
    rows = table.rows()
    assert [row["labels"] for row in rows] == [HUMAN, "ellipses", "eroded 1 px"]
    human, ellipses, eroded = rows
    assert human["kept"]["AP"] == human["kept"]["APbnd"] == human["mask_iou"] == 1
    assert human["boundary_iou"] == 1
    assert ellipses["kept"]["AP"] < eroded["kept"]["AP"] < 1
    assert ellipses["boundary_iou"] < eroded["boundary_iou"] < 1
    written = (tmp_path / "table.md").read_text()
    assert written.count("\n") == 5
    assert "100.0 [100, 100]" in written


def test_the_property_that_orders_labels_as_retention_does_is_told() -> None:
    kept = {"a": 0.2, "b": 0.5, "c": 0.7, "d": 0.9}
    masks = dict(zip(kept, (0.4, 0.6, 0.8, 0.7), strict=True))
    rows = [
        {"data": "x", "recipe": "r", "labels": name, "mask_iou": masks[name], "boundary_iou": ap,
         "kept": {"AP": ap, "APbnd": ap}}
        for name, ap in kept.items()
    ]  # fmt: skip
    (told,) = predictors(rows)
    assert told["AP kept by boundary IoU"] == "1.00"
    assert told["AP kept by mask IoU"] == "0.80"
    assert predictors(rows[:3]) == []
    nothing = [{**row, "kept": {"AP": None, "APbnd": 0.0}} for row in rows]
    (told,) = predictors(nothing)
    assert told["AP kept by mask IoU"] == told["APbnd kept by mask IoU"] == "n/a"


def test_labels_without_a_pixel_are_left_out(data: Data) -> None:
    content = label_table._made(data, "eroded 1 px")
    whole = content["annotations"][0]
    height, width = whole["segmentation"]["size"]
    empty = {"size": [height, width], "counts": [height * width]}
    content["annotations"] = [whole, {**whole, "segmentation": empty}, {"id": 1}]
    assert trainings.with_pixels(content)["annotations"] == [whole]


def test_trainings_that_fail_or_come_too_late_are_told_and_the_others_kept(
    data: Data, found: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    command = ["label_table", str(tmp_path), "--data", "a=b", "--recipes", "one", "--jobs", "1"]
    monkeypatch.setattr("sys.argv", command)
    options = label_table._options()
    human = json.loads(data.val.annotations.read_text())["annotations"]
    predictions = tmp_path / "found.json"
    predictions.write_text(json.dumps([{**ann, "score": 1.0} for ann in human]))
    cells = [Training(data=data, labels=HUMAN, recipe="one", seed=seed) for seed in (0, 1)]

    def predict(cell: Training) -> Path:
        if cell.seed == 0:
            raise RuntimeError("a GPU fell off")
        return predictions

    assert [cell for cell, _ in trainings.trained(cells, predict, options)] == [cells[1]]
    assert "a GPU fell off" in capsys.readouterr().out
    options.limit = 1e-9
    assert list(trainings.trained(cells[1:], predict, options)) == []
    assert "are over" in capsys.readouterr().out
