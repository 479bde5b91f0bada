"""Scores fitted to the human masks that there are."""

import json
from pathlib import Path

import numpy as np
import pytest

from mal_core.data.pseudo_labels import COMPONENTS, INTERVAL
from mal_core.errors import DatasetError
from mal_core.evaluation.calibration import calibrate
from mal_core.quality.score import default_model

SIDE, COUNT = 40, 90
BOX = [5, 5, 30, 30]


def rectangle(width: float) -> list[list[float]]:
    return [[5, 5, 5 + width, 5, 5 + width, 35, 5, 35]]


def write_pair(folder: Path, count: int = COUNT, **extra: object) -> tuple[Path, Path]:
    """Labels whose IoU with the human masks follows one component, and scores that say nothing."""
    generator = np.random.default_rng(0)
    names = default_model("labels").names
    images, labels, human = [], [], []
    for key in range(1, count + 1):
        width = float(generator.uniform(8, 30))
        found = dict.fromkeys(names, 0.5) | {"edges": round(width / 30, 4)}
        entry = {"id": key, "image_id": key, "category_id": 1, "iscrowd": 0, "bbox": BOX}
        images.append({"id": key, "file_name": f"{key}.png", "height": SIDE, "width": SIDE})
        labels.append(
            {**entry, "area": 30 * width, "segmentation": rectangle(width), "score": 0.99}
            | {COMPONENTS: found, INTERVAL: [0.9, 1.0]}
            | extra
        )
        human.append({**entry, "area": 900, "segmentation": rectangle(30)})
    paths = folder / "labels.json", folder / "human.json"
    for path, annotations in zip(paths, (labels, human), strict=True):
        content = {"images": images, "annotations": annotations}
        path.write_text(json.dumps({**content, "categories": [{"id": 1, "name": "a"}]}))
    return paths


def test_scores_follow_the_human_masks_and_intervals_hold_them(tmp_path):
    labels, human = write_pair(tmp_path)
    found = calibrate(labels, human, tmp_path / "out.json")
    assert found.fitted + found.after.objects == COUNT
    assert found.rescored == COUNT
    assert found.before.spearman is None  # all scores were equal
    assert found.after.spearman > 0.8
    assert found.after.calibration_error < 0.15 < found.before.calibration_error
    assert found.covered >= 0.85


def test_nothing_but_scores_and_intervals_changes(tmp_path):
    labels, human = write_pair(tmp_path)
    calibrate(labels, human, tmp_path / "out.json")
    old, new = (json.loads(path.read_text()) for path in (labels, tmp_path / "out.json"))
    for before, after in zip(old["annotations"], new["annotations"], strict=True):
        assert before["score"] != after["score"]
        assert {**before, "score": 0, INTERVAL: 0} == {**after, "score": 0, INTERVAL: 0}


def test_human_corrections_keep_their_score(tmp_path):
    labels, human = write_pair(tmp_path, source="human")
    with pytest.raises(DatasetError, match="0 labels with score_components"):
        calibrate(labels, human, tmp_path / "out.json")


def test_too_few_human_masks_are_refused(tmp_path):
    labels, human = write_pair(tmp_path, count=20)
    with pytest.raises(DatasetError, match=r"(?s)labels\.json.*20 labels.*30 are needed"):
        calibrate(labels, human, tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


ANEW = "`mal score` writes both anew."


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"score": None},
            f"has score=None, but a score is a number from 0 to 1. {ANEW}",
        ),
        (
            {"score": "0.9"},
            f"has score='0.9', but a score is a number from 0 to 1. {ANEW}",
        ),
        ({"score": 87}, f"has score=87, but a score is a number from 0 to 1. {ANEW}"),
        ({"score": True}, f"has score=True, but a score is a number from 0 to 1. {ANEW}"),
        (
            {COMPONENTS: "edges"},
            f"has score_components='edges', but they are numbers by their names. {ANEW}",
        ),
        (
            {COMPONENTS: [0.5]},
            f"has score_components=[0.5], but they are numbers by their names. {ANEW}",
        ),
        (
            {COMPONENTS: {"edges": "far"}},
            f"has score_components={{'edges': 'far'}}, but they are numbers by their names. {ANEW}",
        ),
        (
            {COMPONENTS: {"edges": 1e300}},
            f"has score_components={{'edges': 1e+300}}, but they are numbers by their names. "
            f"{ANEW}",
        ),
    ],
)
def test_scores_and_components_that_are_none_are_told_by_annotation(change, said, tmp_path):
    labels, human = write_pair(tmp_path)
    content = json.loads(labels.read_text())
    content["annotations"][4].update(change)
    labels.write_text(json.dumps(content))
    with pytest.raises(DatasetError) as caught:
        calibrate(labels, human, tmp_path / "out.json")
    assert caught.value.problems == (f"annotation 5 {said}",)
    assert not (tmp_path / "out.json").exists()


def test_labels_without_scores_are_told_where_they_come_from(tmp_path):
    labels, human = write_pair(tmp_path)
    content = json.loads(labels.read_text())
    for entry in content["annotations"]:
        del entry["score"]
    labels.write_text(json.dumps(content))
    with pytest.raises(DatasetError) as caught:
        calibrate(labels, human, tmp_path / "out.json")
    assert len(caught.value.problems) == COUNT
