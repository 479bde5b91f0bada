"""Exports read back by the libraries they are for; those that this environment has."""

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO

from mal_core.errors import DatasetError
from mal_core.formats.exports import EXPORTS, RECORD, export_labels
from mal_core.formats.exports.brush_rle import BrushError, brush_to_mask, mask_to_brush
from mal_core.formats.exports.labeled import Photos
from mal_core.formats.voc import voc_to_coco
from tests.builders import HEIGHT, WIDTH, CocoFiles, encode, write_coco

OBJECTS = 6


def masks_of(files: CocoFiles) -> dict[int, np.ndarray]:
    coco = COCO(str(files.annotations))
    return {key: coco.annToMask(one) for key, one in coco.anns.items() if not one["iscrowd"]}


@pytest.fixture
def files(tmp_path: Path) -> CocoFiles:
    """Six objects and a crowd; one object has a hole and another a second part."""
    files = write_coco(tmp_path / "data", with_crowd=True)
    content = files.content()
    mine = [entry for entry in content["annotations"] if not entry["iscrowd"]]
    for number, entry in enumerate(mine):
        entry["score"] = 0.5 + number / 20
    masks = masks_of(files)
    masks[mine[0]["id"]][9:13, 10:15] = 0
    masks[mine[1]["id"]][:3, :4] = 1
    for entry in mine[:2]:
        entry["segmentation"] = encode(masks[entry["id"]])
        entry["area"] = int(masks[entry["id"]].sum())
    files.rewrite(content)
    return files


def exported(files: CocoFiles, name: str, target: Path) -> dict[str, Any]:
    export_labels(files.annotations, name, target, Photos(folder=files.images))
    return dict(json.loads((target / RECORD).read_text()))


@pytest.mark.parametrize("name", EXPORTS)
def test_every_object_is_written_or_counted(name, files, tmp_path):
    record = exported(files, name, tmp_path / "out")
    left_out = sum(len(ids) for ids in record["left_out"].values())
    keeps_crowds = name in ("coco_rle", "coco_polygon", "fiftyone")
    assert record["written"] == OBJECTS
    assert left_out == (0 if keeps_crowds else 1)
    assert record["mean_iou"] >= 0.98


@pytest.mark.parametrize("name", ["coco_rle", "coco_polygon", "fiftyone"])
def test_pycocotools_reads_exactly_the_masks(name, files, tmp_path):
    exported(files, name, tmp_path / "out")
    file = "labels.json" if name == "fiftyone" else "annotations.json"
    coco = COCO(str(tmp_path / "out" / file))
    wanted = masks_of(files)
    assert len(coco.anns) == OBJECTS + 1
    for key, mask in wanted.items():
        assert (coco.annToMask(coco.anns[key]) == mask).all()
    before = files.content()["annotations"]
    after = json.loads((tmp_path / "out" / file).read_text())["annotations"]
    for old, new in zip(before, after, strict=True):
        given = {**new, "bbox": new.get("box_xywh", new["bbox"])}
        assert {key: given[key] for key in old.keys() - {"segmentation"}} == {
            key: old[key] for key in old.keys() - {"segmentation"}
        }


def test_the_lvis_api_reads_the_masks_and_the_groups(files, tmp_path):
    from lvis import LVIS

    exported(files, "lvis", tmp_path / "out")
    lvis = LVIS(str(tmp_path / "out" / "annotations.json"))
    for key, mask in masks_of(files).items():
        assert (lvis.ann_to_mask(lvis.anns[key]) == mask).all()
    assert {one["frequency"] for one in lvis.cats.values()} == {"r"}
    assert [one["image_count"] for one in lvis.cats.values()] == [3, 3]


def test_yolo_rows_drawn_as_ultralytics_draws_them_are_the_masks(files, tmp_path):
    record = exported(files, "yolo", tmp_path / "out")
    names = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())["names"]
    content = files.content()
    assert list(names.values()) == [entry["name"] for entry in content["categories"]]
    wanted = masks_of(files)
    for image in content["images"]:
        assert (tmp_path / "out" / "images" / image["file_name"]).is_file()
        label = (tmp_path / "out" / "labels" / image["file_name"]).with_suffix(".txt")
        rows = label.read_text().splitlines()
        mine = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        mine = [entry for entry in mine if not entry["iscrowd"]]
        for row, entry in zip(rows, mine, strict=True):
            _, *numbers = map(float, row.split())
            points = (np.array(numbers).reshape(-1, 2) * [WIDTH, HEIGHT]).astype(np.int32)
            drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
            cv2.fillPoly(drawn, [points], (1,))
            mask = wanted[entry["id"]]
            iou = (drawn & mask).sum() / (drawn | mask).sum()
            assert iou == pytest.approx(record["iou_below_1"].get(str(entry["id"]), 1))
    assert set(record["notes"].values()) == {1}


def test_voc_comes_back_but_for_what_lies_below_others(files, tmp_path):
    record = exported(files, "voc", tmp_path / "out")
    back = voc_to_coco(tmp_path / "out" / "JPEGImages", tmp_path / "out" / "Annotations")
    assert len(back["annotations"]) == OBJECTS
    assert all("segmentation" in entry for entry in back["annotations"])
    assert record["iou_below_1"].keys() <= {str(key) for key in masks_of(files)}


def test_png_masks_are_white_on_black_and_listed(files, tmp_path):
    exported(files, "png", tmp_path / "out")
    with (tmp_path / "out" / "index.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    wanted = masks_of(files)
    assert len(rows) == OBJECTS
    for row in rows:
        pixels = np.asarray(Image.open(tmp_path / "out" / row["mask"]))
        assert (pixels == wanted[int(row["annotation_id"])] * 255).all()


@pytest.mark.parametrize("seed", range(4))
def test_brush_masks_come_back(seed):
    mask = (np.random.default_rng(seed).random((23, 31)) < 0.4 + 0.2 * seed).astype(np.uint8)
    assert (brush_to_mask(mask_to_brush(mask), 23, 31) == mask).all()


@pytest.mark.parametrize("brush", [[], [1, 2, 3], [300], mask_to_brush(np.ones((4, 4), np.uint8))])
def test_what_is_no_brush_mask_of_the_size_is_refused(brush):
    with pytest.raises(BrushError):
        brush_to_mask(brush, 5, 5)


def test_images_that_would_share_a_file_are_refused(files, tmp_path):
    content = files.content()
    content["images"][1]["file_name"] = "train/0.jpg"
    files.rewrite(content)
    for name in ("yolo", "voc", "datumaro"):
        with pytest.raises(DatasetError, match="2 images would share train/0"):
            exported(files, name, tmp_path / name)


def test_names_that_lead_out_of_the_folder_are_refused(files, tmp_path):
    content = files.content()
    content["images"][1]["file_name"] = "../0.png"
    files.rewrite(content)
    with pytest.raises(DatasetError, match="leaves the images folder"):
        exported(files, "png", tmp_path / "out")
