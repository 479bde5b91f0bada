"""Scores against human masks: yardsticks on real photos, and what is undefined."""

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mal_core.errors import DatasetError
from mal_core.evaluation.matching import match_predictions
from mal_core.evaluation.scores import label_quality
from mal_core.geometry.masks import mask_to_rle, segmentation_to_mask, segmentation_to_rle
from mal_core.processes.files import write_json
from mal_core.types import MaskMetrics
from scenes.write import write_scenes

COCO_DEV = Path(__file__).parents[4] / "shared" / "data" / "coco_dev" / "annotations"


@pytest.fixture(scope="module")
def scene_file(tmp_path_factory) -> Path:
    """Annotations of a few drawn scenes."""
    folder = tmp_path_factory.mktemp("evaluation") / "scenes"
    write_scenes(folder, num_train=1, num_val=8, size=120, seed=1)
    return folder / "val" / "annotations.json"


def write_predictions(human: Path, output: Path) -> Path:
    """Human masks as predictions."""
    annotations = json.loads(human.read_text())["annotations"]
    keys = ("image_id", "category_id", "segmentation")
    write_json(output, [{**{key: a[key] for key in keys}, "score": 1.0} for a in annotations])
    return output


def test_perfect_predictions_have_ap_one_and_absent_sizes_none(scene_file, tmp_path):
    metrics = match_predictions(
        scene_file, write_predictions(scene_file, tmp_path / "p.json")
    ).metrics()
    assert metrics.ap == metrics.ap50 == metrics.ap75 == pytest.approx(1.0)
    assert metrics.ap_large is None


def test_annotation_id_zero_counts_like_any_other(scene_file, tmp_path):
    content = json.loads(scene_file.read_text())
    for number, annotation in enumerate(content["annotations"]):
        annotation["id"] = number
    write_json(tmp_path / "from_zero.json", content)
    predictions = write_predictions(scene_file, tmp_path / "p.json")
    assert match_predictions(
        tmp_path / "from_zero.json", predictions
    ).metrics().ap == pytest.approx(1.0)


def test_no_predictions_score_zero_where_there_is_something_to_find(scene_file, tmp_path):
    write_json(tmp_path / "p.json", [])
    metrics = match_predictions(scene_file, tmp_path / "p.json").metrics()
    assert metrics == MaskMetrics(
        ap=0.0, ap50=0.0, ap75=0.0, ap_small=0.0, ap_medium=0.0, ap_large=None
    )


def test_predictions_without_masks_are_refused(scene_file, tmp_path):
    entry = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 1.0}
    write_json(tmp_path / "p.json", [entry])
    with pytest.raises(DatasetError, match="1 predictions have no mask"):
        match_predictions(scene_file, tmp_path / "p.json").metrics()


def test_labels_that_are_the_human_masks_score_one_and_a_missing_one_zero(scene_file, tmp_path):
    content = json.loads(scene_file.read_text())
    dropped = content["annotations"].pop()["id"]
    write_json(tmp_path / "labeled.json", content)
    quality = label_quality(tmp_path / "labeled.json", scene_file)
    assert quality.iou_of[dropped] == 0.0
    count = quality.counts["all"]
    assert quality.mask_iou.all == pytest.approx((count - 1) / count)
    assert count == quality.counts["small"] + quality.counts["medium"] + quality.counts["large"]


def test_a_file_without_masks_has_no_label_quality(scene_file, tmp_path):
    content = json.loads(scene_file.read_text())
    for annotation in content["annotations"]:
        del annotation["segmentation"]
    write_json(tmp_path / "boxes.json", content)
    assert label_quality(scene_file, tmp_path / "boxes.json") is None


def test_all_three_encodings_of_coco_are_one_mask():
    polygon = [[2.0, 2.0, 12.0, 2.0, 12.0, 9.0, 2.0, 9.0]]
    mask = segmentation_to_mask(polygon, 20, 30)
    compressed = segmentation_to_rle(polygon, 20, 30)
    flat = mask.flatten(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    for other in (
        compressed,
        {**compressed, "counts": compressed["counts"].encode()},
        {"size": [20, 30], "counts": counts},
        mask_to_rle(mask),
    ):
        np.testing.assert_array_equal(segmentation_to_mask(other, 20, 30), mask)
    assert mask.sum() == coco_mask.area(compressed)


@pytest.mark.parametrize("broken", [None, [], {}, {"counts": 3}, "mask"])
def test_something_else_is_no_segmentation(broken):
    with pytest.raises(ValueError, match=r"has no mask|a mask is a list"):
        segmentation_to_rle(broken, 5, 5)


def test_the_yardsticks_on_real_photos_are_the_known_ones(tmp_path):
    human = COCO_DEV / "instances_val.json"
    if not human.exists():
        pytest.skip("the real photos' annotations are not here")
    content = json.loads(human.read_text())
    objects = [a for a in content["annotations"] if not a["iscrowd"]][:700]
    write_json(tmp_path / "first.json", {**content, "annotations": objects})
    quality = label_quality(human, tmp_path / "first.json")
    assert quality.mask_iou.all == 1.0
    assert quality.box_fill.all == pytest.approx(0.544, abs=0.003)
    # 0.608 was measured with ellipses on whole pixels; ours fit small boxes better.
    assert quality.ellipse.all == pytest.approx(0.612, abs=0.006)
