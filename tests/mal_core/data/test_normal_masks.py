"""Unusual masks as pycocotools and mmdet want them; everything else as it was."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mal_core.data.normal_masks import write_normal_masks
from mal_core.data.view import read_view
from tests.builders import CocoFiles, change_coco, write_coco


def unusual(content: dict[str, Any]) -> None:
    disc, crowd, slab, other, *_ = content["annotations"]
    disc.update(segmentation=[4, 5, 24, 5, 24, 21, 4, 21], origin={"by": 1})
    slab["ignore"] = 1
    del disc["area"], disc["iscrowd"], crowd["segmentation"], crowd["area"]
    slab["segmentation"] = [[1, 2, 3, 4], [34, 10, 56, 10, 56, 30, 34, 30]]
    other.update(bbox=[5, 5, 0, 0], segmentation=[])


@pytest.fixture
def normal(tmp_path: Path) -> tuple[CocoFiles, Path]:
    files = change_coco(write_coco(tmp_path, with_crowd=True), unusual)
    write_normal_masks(files.annotations, tmp_path / "normal.json")
    return files, tmp_path / "normal.json"


def test_the_copy_is_usual_and_else_the_same(normal: tuple[CocoFiles, Path]) -> None:
    files, copy = normal
    assert read_view(files.annotations).masks.unusual
    assert read_view(copy).masks.unusual == {}
    before, after = files.content(), json.loads(copy.read_text())
    disc, crowd, slab, *others = after["annotations"]
    assert (disc["area"], disc["iscrowd"], disc["origin"]) == (320, 0, {"by": 1})
    assert disc["segmentation"] == [[4, 5, 24, 5, 24, 21, 4, 21]]
    assert crowd["segmentation"] == [[2, 4, 4, 4, 4, 50, 2, 50]]
    assert slab["ignore"] == 0  # mmdet would leave it out
    assert slab["segmentation"] == [[34, 10, 56, 10, 56, 30, 34, 30]]
    assert others == before["annotations"][4:]
    assert {**after, "annotations": []} == {**before, "annotations": []}


def test_pycocotools_scores_the_copy(normal: tuple[CocoFiles, Path]) -> None:
    truth = COCO(str(normal[1]))
    objects = [a for a in truth.dataset["annotations"] if not a["iscrowd"]]
    found = [
        {"image_id": a["image_id"], "category_id": a["category_id"], "score": 1.0,
         "segmentation": truth.annToRLE(a)}
        for a in objects
    ]  # fmt: skip
    evaluation = COCOeval(truth, truth.loadRes(found), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"]
    assert np.all(precision[precision > -1] == pytest.approx(1))
