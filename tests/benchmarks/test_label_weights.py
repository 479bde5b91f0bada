"""The weights benchmark: a fifth of the masks is replaced, found again, and compared per arm."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import label_weights
from benchmarks.label_weights import ALIKE, BY_SCORE, CLEAN, Data, Labels, Training
from mal_core.config import SplitConfig
from mal_core.evaluation.compared_arms import match_run
from mal_core.geometry.masks import segmentation_to_mask
from scenes.write import write_scenes


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, num_train=6, num_val=3, size=96, seed=0)
    train, val = (
        SplitConfig(
            images=folder / split / "images", annotations=folder / split / "annotations.json"
        )
        for split in ("train", "val")
    )
    return Data(name="scenes", train=train, val=val)


def test_a_fifth_becomes_filled_boxes_and_the_others_stay(data: Data) -> None:
    before, after = label_weights._human(data), label_weights._human(data)
    chosen = label_weights._replace(after)
    objects = [ann for ann in after["annotations"] if not ann["iscrowd"]]
    assert len(chosen) == round(0.2 * len(objects))
    for old, new in zip(before["annotations"], after["annotations"], strict=True):
        if new["id"] not in chosen:
            assert old == new
            continue
        mask = segmentation_to_mask(new["segmentation"], *new["segmentation"]["size"])
        rows, columns = mask.any(1), mask.any(0)
        assert mask[rows][:, columns].all()
    assert label_weights._replace(label_weights._human(data)) == chosen


def _predictions(data: Data, out: Path, *, share: float) -> Path:
    """Some of a file's own masks as detections."""
    objects = [
        ann
        for ann in json.loads(data.val.annotations.read_text())["annotations"]
        if not ann["iscrowd"]
    ]
    path = out / f"found-{share}.json"
    kept = objects[: round(share * len(objects))]
    path.write_text(json.dumps([{**ann, "score": 0.9} for ann in kept]))
    return path


def test_rows_compare_each_arm_with_the_unweighted_one(data: Data, tmp_path: Path) -> None:
    shares = {ALIKE: 0.6, BY_SCORE: 0.8, CLEAN: 1.0}
    found = {
        Training(data=data, recipe="one", arm=arm, seed=0): match_run(
            data.val.annotations, _predictions(data, tmp_path, share=share)
        )
        for arm, share in shares.items()
    }
    made = Labels(clean=tmp_path, replaced=tmp_path, found=0.9, threshold=0.5)
    rows: list[dict[str, Any]] = list(label_weights._rows(found, {"scenes": made}))
    assert [row["arm"] for row in rows] == [ALIKE, BY_SCORE, CLEAN]
    ratios = [row["of unweighted"]["AP"] for row in rows]
    assert ratios[0] == 1
    assert 1 < ratios[1] < ratios[2]
    assert rows[0]["found"] == 0.9
    assert json.dumps(rows)
    assert label_weights._texts(rows)[0]["AP, % of unweighted"].startswith("100.0")


@pytest.mark.parametrize("arm", [ALIKE, BY_SCORE])
def test_only_weighted_arms_tell_the_segmenter_of_scores(
    data: Data, arm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["label_weights", "out", "--data", "scenes", "--recipes", "scenes=solov2_r18"]
    monkeypatch.setattr("sys.argv", [*command, "--steps", "7", "--weights", "FILE"])
    options = label_weights._options()
    cell = Training(data=data, recipe="solov2_r18", arm=arm, seed=0)
    recipe = label_weights._segmenter(cell, 0.4, options)
    assert recipe.label_weights == arm
    assert recipe.max_steps == 7
    assert recipe.weights is None, "its backbone starts from random weights"
