"""The weights benchmark: a fifth of the masks is replaced, found again, and compared per arm."""

from pathlib import Path

import pytest

from benchmarks import label_weights
from benchmarks.compared_labels import Table
from benchmarks.datasets import Data
from benchmarks.label_weights import ALIKE, ARMS, BY_SCORE, CLEAN
from benchmarks.trainings import Training
from mal_core.geometry.masks import segmentation_to_mask
from tests.benchmarks.conftest import Found


def test_a_fifth_becomes_filled_boxes_and_the_others_stay(data: Data) -> None:
    before = label_weights._human(data)
    chosen, after = label_weights._replaced(before)
    objects = [ann for ann in after["annotations"] if not ann["iscrowd"]]
    assert len(chosen) == round(0.2 * len(objects))
    for old, new in zip(before["annotations"], after["annotations"], strict=True):
        if new["id"] not in chosen:
            assert old == new
            continue
        mask = segmentation_to_mask(new["segmentation"], *new["segmentation"]["size"])
        rows, columns = mask.any(1), mask.any(0)
        assert mask[rows][:, columns].all()
    assert label_weights._replaced(label_weights._human(data))[0] == chosen


def test_rows_compare_each_arm_with_the_unweighted_one(
    data: Data, found: Found, tmp_path: Path
) -> None:
    truth = data.val.annotations
    table = Table(tmp_path, ARMS, reference=ALIKE)
    for arm, share in {ALIKE: 0.6, BY_SCORE: 0.8, CLEAN: 1.0}.items():
        cell = Training(data=data, recipe="one", labels=arm, seed=0)
        table.add(cell, found(truth, truth, share), data.train.annotations)
    rows = table.rows()
    assert [row["labels"] for row in rows] == [ALIKE, BY_SCORE, CLEAN]
    ratios = [row["kept"]["AP"] for row in rows]
    assert ratios[0] == 1
    assert 1 < ratios[1] < ratios[2]
    assert "| 100.0 [100, 100] |" in table.text()


@pytest.mark.parametrize("arm", [ALIKE, BY_SCORE])
def test_only_weighted_arms_tell_the_segmenter_of_scores(
    data: Data, arm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["label_weights", "out", "--data", "scenes", "--recipes", "scenes=solov2_r18"]
    monkeypatch.setattr("sys.argv", [*command, "--steps", "7", "--weights", "FILE"])
    options = label_weights._options()
    cell = Training(data=data, recipe="solov2_r18", labels=arm, seed=0)
    recipe = label_weights._segmenter(cell, 0.4, options)
    assert recipe.label_weights == arm
    assert recipe.max_steps == 7
    assert recipe.weights is None, "its backbone starts from random weights"
