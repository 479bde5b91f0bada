"""Every annotation format through the real `mal`: boxes in, masks out in the same format."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mal_core.geometry.masks import segmentation_to_mask
from tests.mal_core.formats import drawn_formats

NUM_FRAMES = 24
Json = dict[str, Any]


@pytest.fixture(scope="module")
def trained(mal, drawn: Path, phase_1: list[str]) -> list[str]:
    """Overrides with a checkpoint that a few real steps made."""
    mal.run(
        "train", *split(drawn / "train" / "images", drawn / "train" / "annotations.json"), *phase_1
    )
    kept = mal.root / "kept.pth"
    shutil.copy(mal.workdir / "mal" / "checkpoint.pth", kept)
    return [f"checkpoint={kept}", *phase_1]


def split(images: Path, annotations: Path, key: str = "train") -> list[str]:
    return [f"data.{key}.images={images}", f"data.{key}.annotations={annotations}"]


def frames(drawn: Path, folder: Path) -> tuple[Path, Json]:
    """One object that moves over 24 frames, hidden in two of them, and one that stays."""
    picture = Image.open(next(iter(sorted((drawn / "train" / "images").iterdir()))))
    names = [f"video/{number:05d}.png" for number in range(NUM_FRAMES)]
    (folder / "video").mkdir(parents=True)
    for name in names:
        picture.save(folder / name)
    moving = [[2 * number, 10, 30, 25] for number in range(NUM_FRAMES)]
    video = {"id": 4, "width": 96, "height": 96, "length": NUM_FRAMES, "file_names": names}
    common = {"video_id": 4, "category_id": 2, "iscrowd": 0}
    return folder, {
        "videos": [video],
        "annotations": [
            {
                "id": 1,
                "bboxes": [None if i in (5, 6) else b for i, b in enumerate(moving)],
                **common,
            },
            {"id": 2, "bboxes": [[40, 50, 30, 40]] * NUM_FRAMES, **common},
        ],
        "categories": [{"id": 2, "name": "thing"}],
    }


@pytest.mark.slow
def test_a_video_comes_back_with_masks_per_frame(mal, trained, drawn, tmp_path):
    images, content = frames(drawn, tmp_path / "JPEGImages")
    annotations = drawn_formats.write_json(tmp_path / "ytvis.json", content)
    output = mal.run("label", "data=ytvis", *split(images, annotations), *trained)
    assert "boxes in 46 = masks 46 + crowds 0 + skipped 0" in output
    labeled = json.loads((mal.workdir / "labels" / "ytvis.json").read_text())
    for source, track in zip(content["annotations"], labeled["annotations"], strict=True):
        assert track["bboxes"] == source["bboxes"]
        for box, mask, area in zip(
            track["bboxes"], track["segmentations"], track["areas"], strict=True
        ):
            if box is None:
                assert mask is None
                assert area is None
                continue
            pixels = segmentation_to_mask(mask, 96, 96)
            x, y, w, h = box
            assert pixels.sum() == area > 0
            assert pixels[y : y + h, x : x + w].sum() == area


@pytest.mark.slow
def test_voc_and_yolo_return_as_their_own_files(mal, trained, tmp_path):
    images = drawn_formats.draw(tmp_path / "images")
    voc = drawn_formats.write_voc(tmp_path / "Annotations")
    yolo = drawn_formats.write_yolo(tmp_path / "labels")
    mal.run("label", "data=voc", *split(images, voc), *trained)
    mal.run("label", "data=yolo", *split(images, yolo), *trained)
    objects = Image.open(mal.workdir / "labels" / "voc" / "SegmentationObject" / "a.png")
    assert objects.size == (drawn_formats.WIDTH, drawn_formats.HEIGHT)
    assert set(np.unique(np.asarray(objects))) <= {0, 1, 2}
    lines = (mal.workdir / "labels" / "yolo" / "a.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1"]
    assert all(len(line.split()) >= 7 for line in lines)

    target = tmp_path / "out" / "masks"
    mal.run("label", "data=yolo", *split(images, yolo), *trained, f"output={target}")
    assert sorted(path.name for path in target.glob("[!.]*")) == ["a.txt", "b.txt", "data.yaml"]
    assert target.with_name("masks.skipped.json").is_file()


def as_lvis(content: Json) -> Json:
    for image in content["images"]:
        image["coco_url"] = f"http://images.cocodataset.org/train2017/{image.pop('file_name')}"
        image["neg_category_ids"], image["not_exhaustive_category_ids"] = [2], [1]
    for category, frequency in zip(content["categories"], "rf", strict=True):
        category["frequency"] = frequency
    return content


def as_objects365(content: Json) -> Json:
    for image in content["images"]:
        image["file_name"] = f"images/v1/patch8/{image['file_name']}"
    return content


def with_keys_of_its_own(content: Json) -> Json:
    """Keys that our own files use, and every form of a mask, in a user's file."""
    for number, entry in enumerate(content["annotations"]):
        x, y, w, h = entry["bbox"]
        corners = [x, y, x + w, y, x + w, y + h, x, y + h]
        entry["segmentation"] = corners if number % 2 else [corners, [1, 2]]
        entry.update(origin={"tool": 1}, attributes={"image_id": 7, "segmentation": [1]})
    for image in content["images"]:
        image.update(image_id=f"shot {image['id']}", origin="camera")
    return {**content, "extra": [{"image_id": 1, "deep": [[None, 2**70]]}]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "convert"),
    [("coco", dict), ("lvis", as_lvis), ("objects365", as_objects365)],
)
def test_masks_in_both_splits_go_through_and_all_keys_return(name, convert, mal, trained, tmp_path):
    images = drawn_formats.draw(tmp_path / "images")
    content = convert(with_keys_of_its_own(drawn_formats.coco()))
    files = [drawn_formats.write_json(tmp_path / f"{key}.json", content) for key in ("t", "v")]
    chosen = [f"data={name}", *split(images, files[0]), *split(images, files[1], "val")]
    checked = mal.run("check", *chosen)
    count = len(content["annotations"])
    assert checked.count(f"{count} human masks") == 2
    assert checked.count("masks are one flat polygon") == 2
    mal.run("label", *chosen, *trained)
    labeled = mal.workdir / "labels" / "train.json"
    after = json.loads(labeled.read_text())
    ours = {"segmentation", "area", "score", "score_interval", "score_components"}
    for old, new in zip(content["annotations"], after["annotations"], strict=True):
        assert new.keys() >= ours
        assert without(new, ours) == without(old, ours)
    for old, new in zip(content["images"], after["images"], strict=True):
        assert without(new, {"file_name"}) == without(old, {"file_name"})
    assert (after["categories"], after["extra"]) == (content["categories"], content["extra"])
    scored = mal.run("evaluate", f"labels={labeled}", f"human={files[0]}")
    assert f"{count} objects with a human mask, 0 of them unlabeled" in scored


def without(entry: Json, keys: set[str]) -> Json:
    return {key: value for key, value in entry.items() if key not in keys}


@pytest.mark.slow
def test_a_detectors_boxes_return_in_their_order_with_masks_and_their_ap(
    mal, trained, drawn, tmp_path
):
    annotations = drawn / "val" / "annotations.json"
    content = json.loads(annotations.read_text())
    detections = [
        {**{key: a[key] for key in ("image_id", "category_id", "bbox")}, "score": 0.9}
        for a in content["annotations"]
        if not a.get("iscrowd")
    ]
    detections.append({**detections[0], "bbox": [500, 500, 10, 10], "score": 0.01})
    given = drawn_formats.write_json(tmp_path / "detections.json", detections)
    target = tmp_path / "masks.json"
    output = mal.run(
        "label",
        *split(drawn / "val" / "images", annotations),
        *trained,
        f"boxes={given}",
        f"output={target}",
    )
    written = json.loads(target.read_text())
    assert [entry.get("segmentation") is None for entry in written] == [
        *([False] * (len(detections) - 1)),
        True,
    ]
    assert [{k: v for k, v in e.items() if k != "segmentation"} for e in written] == detections
    assert "skipped 1" in output
    assert "AP of the boxes: 1.000" in output
    assert "AP of the masks: 0." in output


@pytest.mark.slow
def test_an_image_without_annotations_suffices_for_a_detectors_boxes(mal, trained, tmp_path):
    images = drawn_formats.draw(tmp_path / "images")
    annotations = drawn_formats.write_json(
        tmp_path / "image_info.json", {**drawn_formats.coco(), "annotations": []}
    )
    detections = [{"image_id": 0, "category_id": 1, "bbox": [4, 5, 12, 10], "score": 0.75}]
    given = drawn_formats.write_json(tmp_path / "d.json", detections)
    output = mal.run("label", *split(images, annotations), *trained, f"boxes={given}")
    assert len(json.loads((mal.workdir / "labels" / "detections.json").read_text())) == 1
    assert "AP" not in output


@pytest.mark.parametrize("chosen", [True, False], ids=["output", "workdir"])
def test_skipped_detections_are_counted_as_in_the_list(chosen, mal, tmp_path):
    images = drawn_formats.draw(tmp_path / "images")
    annotations = drawn_formats.write_json(tmp_path / "info.json", drawn_formats.coco())
    found = {"image_id": 0, "category_id": 1, "score": 0.75}
    boxes = ([4, 5, 12, 10], [5, 5, 0, 9], [6, 5, 12, 10], [900, 900, 5, 5])
    given = drawn_formats.write_json(
        tmp_path / "d.json", [{**found, "bbox": list(box)} for box in boxes]
    )
    output = [f"output={tmp_path / 'masks.json'}"] if chosen else []
    mal.run("label", *split(images, annotations), "labeler=box", f"boxes={given}", *output)
    ledger = tmp_path / "masks.skipped.json" if chosen else mal.workdir / "labels" / "skipped.json"
    content = json.loads(ledger.read_text())
    assert [entry["detection"] for entry in content["skipped"]] == [1, 3]
    assert not any("annotation_id" in entry for entry in content["skipped"])
    assert (content["num_boxes"], content["num_masks"]) == (4, 2)


def refused(mal, verb: str, *overrides: str) -> str:
    status, output = mal.inside(verb, *overrides)
    assert status == 2, output
    assert "Traceback" not in output
    return str(output)


def test_wrong_annotations_are_told_with_the_users_own_files(mal, tmp_path):
    images = drawn_formats.draw(tmp_path / "images")
    voc = drawn_formats.write_voc(tmp_path / "Annotations")
    text = (voc / "b.xml").read_text()
    (voc / "b.xml").write_text(text.replace("<xmax>40</xmax>", "<xmax>77</xmax>"))
    output = refused(mal, "check", "data=voc", *split(images, voc))
    assert "b.xml, object 1" in output
    assert f"{voc}: 1 problem" in output
    assert str(mal.root / "store") not in output


def test_a_coco_file_is_no_folder_of_yolo_labels(mal, tmp_path):
    images = drawn_formats.draw(tmp_path / "images")
    annotations = drawn_formats.write_json(tmp_path / "a.json", drawn_formats.coco())
    output = refused(mal, "check", "data=yolo", *split(images, annotations))
    assert "is a file, no folder. Give the folder of label files" in output


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["boxes={images}/a.jpg"], "needs checkpoint=FILE"),
        (["boxes=nowhere.json", "checkpoint={images}/a.jpg"], "boxes="),
        (["output={images}"], "is the input"),
        (["data.format=cocoo"], "data.format"),
    ],
)
def test_impossible_settings_are_refused(overrides, said, mal, tmp_path):
    images = drawn_formats.draw(tmp_path / "images")
    annotations = drawn_formats.write_json(tmp_path / "a.json", drawn_formats.coco())
    chosen = [text.format(images=images) for text in overrides]
    assert said in refused(mal, "label", *split(images, annotations), *chosen)


def test_labels_that_are_a_folder_are_not_called_a_file(mal, tmp_path):
    images = drawn_formats.draw(tmp_path / "images")
    labels = drawn_formats.write_yolo(tmp_path / "labels")
    output = tmp_path / "x.json"
    chosen = ["data=yolo", "labeler=box", *split(images, labels), f"output={output}"]
    assert (
        f"output={output} looks like a file, but labels return as yolo, a folder of files. Name a "
        "folder; without output, workdir gets labels/train.json, which is COCO, too."
    ) in refused(mal, "label", *chosen)
    assert not output.exists()


def with_masks() -> Json:
    """COCO's object with a polygon per box, under class numbers of its own."""
    content = drawn_formats.coco()
    for entry in content["annotations"]:
        x, y, w, h = entry["bbox"]
        entry["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        entry["category_id"] += 10
    for entry in content["categories"]:
        entry["id"] += 10
    return content


@pytest.mark.parametrize("name", ["voc", "yolo"])
def test_validation_masks_may_come_in_another_format(name, mal, tmp_path):
    images = drawn_formats.draw(tmp_path / "images")
    write = {"voc": drawn_formats.write_voc, "yolo": drawn_formats.write_yolo}[name]
    annotations = write(tmp_path / "labels")
    val = tmp_path / "val.json.gz"
    val.write_bytes(gzip.compress(json.dumps(with_masks()).encode("utf-16")))
    chosen = [f"data={name}", *split(images, annotations), *split(images, val, "val")]
    output = mal.run("check", *chosen, "data.val.format=coco")
    assert "validation file: 2 images, 3 annotations = 3 boxes" in output
    assert "3 human masks, 2 classes" in output


def test_polygons_of_yolo_are_validation_masks(mal, tmp_path):
    images = drawn_formats.draw(tmp_path / "images")
    annotations = drawn_formats.write_yolo(tmp_path / "labels")
    for name in ("a", "b"):
        (annotations / f"{name}.txt").write_text("0 .1 .1 .6 .1 .6 .6\n1 .2 .2 .9 .2 .9 .9 .2 .8\n")
    (annotations / "._a.txt").write_bytes(b"\0")
    chosen = [*split(images, annotations), *split(images, annotations, "val")]
    output = mal.run("check", "data=yolo", *chosen)
    assert output.count("4 human masks") == 2
    assert "1 files of" in output


def test_a_file_in_a_code_page_is_refused_with_what_to_do(mal, tmp_path):
    images = drawn_formats.draw(tmp_path / "images")
    annotations = drawn_formats.write_yolo(tmp_path / "labels")
    (annotations / "classes.txt").write_bytes("狗\n苹果\n".encode("gbk"))
    output = refused(mal, "check", "data=yolo", *split(images, annotations))
    assert "classes.txt: line 1: byte 0xb9 is not UTF-8. Save the file as UTF-8." in output


def test_an_origin_of_the_users_own_does_not_name_entries_beside_another_format(mal, tmp_path):
    images = drawn_formats.draw(tmp_path / "images")
    voc = drawn_formats.write_voc(tmp_path / "Annotations")
    content = with_masks()
    content["annotations"][1].update(origin="my tool", bbox=[500, 500, 10, 10])
    val = drawn_formats.write_json(tmp_path / "val.json", content)
    chosen = ["data=voc", *split(images, voc), *split(images, val, "val")]
    output = refused(mal, "check", *chosen, "data.val.format=coco")
    assert "annotation 2 " in output
    assert "my tool" not in output
