"""`mal evaluate labels=FILE human=FILE` and `mal export` as a user runs them."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests.mal_core.formats.drawn_formats import coco, draw, label, write_json
from tests.mal_core.models.test_export import write_checkpoint


@pytest.fixture
def human(tmp_path: Path) -> Path:
    return write_json(tmp_path / "human.json", label(coco()))


def test_a_labeled_file_is_scored_against_human_masks(mal, human, tmp_path):
    content = json.loads(human.read_text())
    content["annotations"].pop()
    labels = write_json(tmp_path / "labels.json", content)
    target = tmp_path / "scores.json"
    output = mal.run("evaluate", f"labels={labels}", f"human={human}", f"output={target}")
    assert "3 objects with a human mask, 1 of them unlabeled" in output
    assert "mean over objects" in output
    scores = json.loads(target.read_text())
    assert scores["mask_iou"]["all"] == pytest.approx(2 / 3)
    assert scores["class_iou"]["all"] == pytest.approx(0.75)
    assert scores["labels"] == str(labels)
    assert scores["clustering"] is None


@pytest.mark.slow
def test_with_a_checkpoint_the_encoder_is_scored_and_exported_too(mal, human, tmp_path):
    images = draw(tmp_path / "images")
    checkpoint = write_checkpoint(mal.workdir / "mal" / "checkpoint.pth")
    output = mal.run(
        "evaluate", f"labels={human}", f"human={human}", f"checkpoint={checkpoint}",
        f"images={images}",
    )  # fmt: skip
    assert "clustering score" in output
    scores = json.loads((mal.workdir / "label_metrics.json").read_text())
    assert 0 < scores["clustering"]["score"] < 4
    assert scores["clustering"]["objects"] == 3

    output = mal.run("export", "mal=tiny_scenes")
    network = onnxruntime.InferenceSession(mal.workdir / "mal" / "labeler.onnx")
    side = network.get_inputs()[0].shape[1]
    assert f"crop_size: {side}" in output
    feed = {
        "crops": np.zeros((3, side, side, 3), np.uint8),
        "boxes_xyxy": np.array([[0, 0, 20, 20]] * 3, np.float32),
    }
    assert network.run(None, feed)[0].shape == (3, side // 4, side // 4)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["labels={human}"], "labels=FILE and human=FILE go together"),
        (["labels=nowhere.json", "human={human}"], "nowhere.json: no such file"),
        (["labels={human}", "human={human}", "output={human}"], "is the input"),
        (["labels={human}", "human={human}", "images=."], "needs both checkpoint=FILE and images="),
        (["labels={other}", "human={human}"], "not a COCO file"),
        (
            ["labels={human}", "human={human}", "output=/proc/x/scores.json"],
            "mal: output=/proc/x/scores.json cannot be written (No such file or directory): choose",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(overrides, said, mal, human, tmp_path):
    other = write_json(tmp_path / "other.json", [1])
    chosen = [text.format(human=human, other=other) for text in overrides]
    status, output = mal.inside("evaluate", *chosen)
    assert status == 2, output
    assert said in output
    assert "Traceback" not in output
    assert json.loads(human.read_text()) == label(coco())
