"""Corrections become human masks, the worst first or at random, and all else stays."""

import json
from pathlib import Path

import pytest

from benchmarks import corrected_labels, label_table, trainings
from benchmarks.datasets import Data
from mal_core.types import HUMAN_SOURCE


def test_the_worst_or_random_masks_become_human_ones_and_the_others_stay(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = label_table._made(data, "ellipses")
    content["annotations"] = [ann for ann in content["annotations"] if not ann["iscrowd"]]
    count = len(content["annotations"])
    for place, ann in enumerate(content["annotations"]):
        ann["score"] = (place + 1) / count
    monkeypatch.setattr(trainings, "labeled", lambda *_: content)
    command = ["x", str(tmp_path), "--data", "scenes", "--recipe", "one", "--shares", "0.2"]
    monkeypatch.setattr("sys.argv", [*command, "--checkpoints", "scenes=FILE"])
    files = corrected_labels._files(data, corrected_labels._options())
    read = {name: json.loads(path.read_text())["annotations"] for name, path in files.items()}
    human = {ann["id"]: ann["segmentation"] for ann in read["human masks"]}
    changed = {}
    for name in ("worst 20 % corrected", "random 20 % corrected"):
        changed[name] = [ann for ann in read[name] if ann.get("source") == HUMAN_SOURCE]
        assert len(changed[name]) == round(0.2 * count)
        assert all(ann["segmentation"] == human[ann["id"]] for ann in changed[name])
        rest = [ann for ann in read[name] if ann.get("source") != HUMAN_SOURCE]
        assert all(ann in read["as labeled"] for ann in rest)
        assert [ann["id"] for ann in read[name]] == [ann["id"] for ann in read["as labeled"]]
    ids = {name: {ann["id"] for ann in anns} for name, anns in changed.items()}
    assert ids["worst 20 % corrected"] != ids["random 20 % corrected"]
    lowest = {ann["id"] for ann in content["annotations"][: count // 2]}
    assert ids["worst 20 % corrected"] <= lowest
    given = tmp_path / "given.json"
    given.write_bytes(files["as labeled"].read_bytes())
    monkeypatch.setattr("sys.argv", [*command, "--labels", f"scenes={given}"])
    again = corrected_labels._files(data, corrected_labels._options())
    assert again["as labeled"] == given
    name = "worst 20 % corrected"
    assert json.loads(again[name].read_text())["annotations"] == read[name]
