"""What ends a training before a guide draws, and labels of moved boxes. The children are real."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pycocotools import mask as coco_mask
from safetensors.torch import save_file

from mal_core.data.coco import strip_masks
from tests.flows.conftest import Mal, Overrides


def test_weights_of_another_network_are_told_before_a_guide_draws(
    fresh_mal, files, phase_1, tmp_path
):
    weights = tmp_path / "other.safetensors"
    save_file({"layer1.0.conv1.weight": torch.zeros(8, 3, 3, 3)}, weights)
    given = [*files(), *phase_1, "mal.guide=box", "mal.self_training.rounds=1"]
    given += [f"encoder.weights={weights}"]
    status, output = fresh_mal.inside("train", *given)
    assert status == 2, output
    assert f"from {weights} could not be loaded (missing" in output
    assert "Traceback" not in output
    assert "label boxes" not in output
    assert not [*(fresh_mal.root / "store" / "generate-pseudo-labels").glob("*/train.json")]


def test_labels_of_moved_boxes_keep_those_that_were_given(
    fresh_mal: Mal, files: Callable[..., Overrides], drawn: Path, tmp_path: Path
) -> None:
    output = tmp_path / "labels.json"
    given = [*files(), "labeler=box", "data.box_noise=0.2", "seed=3", f"output={output}"]
    status, printed = fresh_mal.inside("label", *given)
    assert status == 0, printed
    note = (
        "note: data.box_noise=0.2, for experiments: masks are drawn of boxes whose sides were "
        "moved by up to 20 % of the box; files keep the boxes you gave"
    )
    assert printed.count(note) == printed.count("data.box_noise") == 1
    source = json.loads((drawn / "train" / "annotations.json").read_text())
    moved = tmp_path / "moved.json"
    strip_masks(drawn / "train" / "annotations.json", moved, box_noise=0.2, seed=3)
    boxes = {one["id"]: one["bbox"] for one in json.loads(moved.read_text())["annotations"]}
    labels = {one["id"]: one for one in json.loads(output.read_text())["annotations"]}
    objects = [one for one in source["annotations"] if not one["iscrowd"]]
    assert any(boxes[one["id"]] != one["bbox"] for one in objects)
    for one in objects:
        label = labels[one["id"]]
        assert label["bbox"] == one["bbox"]
        extent = coco_mask.toBbox(label["segmentation"]).tolist()
        assert extent == pytest.approx(boxes[one["id"]], abs=2)
        assert label["area"] == coco_mask.area(label["segmentation"])
