"""`mal evaluate labels= human=` on every format and encoding that the other verbs take."""

import dataclasses
import gzip
import json
import shutil
from pathlib import Path

import pytest

from flows.commands.label_scores import score_labels
from flows.settings import composing
from mal_core.errors import ConfigError, DatasetError
from mal_core.formats import FORMATS
from tests.mal_core.formats.drawn_formats import (
    HEIGHT,
    WIDTH,
    coco,
    draw,
    label,
    masks,
    write_json,
    write_voc_with_masks,
    write_yolo_with_masks,
)


def scores(folder: Path, *overrides: str) -> dict:
    config = composing.compose([*overrides, f"store={folder / 'store'}"])
    target = folder / "scores.json"
    text, _ = score_labels(dataclasses.replace(config, output=target))
    content = json.loads(target.read_text())
    assert f"{content['objects']} objects with a human mask" in text
    return content


@pytest.fixture
def yolo(tmp_path: Path) -> list[str]:
    images, human = draw(tmp_path / "images"), write_yolo_with_masks(tmp_path / "human")
    return ["data=yolo", f"human={human}", f"images={images}"]


@pytest.fixture
def voc(tmp_path: Path) -> list[str]:
    draw(tmp_path / "images")
    return ["data=voc", f"human={write_voc_with_masks(tmp_path / 'human')}"]


def labeled(tmp_path: Path, name: str, human: Path) -> tuple[Path, Path]:
    """The COCO file and the native one that `mal label` leaves for boxes of a human folder."""
    normal = label(FORMATS[name].to_coco(tmp_path / "images", human))
    target = tmp_path / f"labels-{name}"
    FORMATS[name].write_masks(normal, human, tmp_path / "images", target)
    return write_json(tmp_path / f"{name}.json", normal), target


def test_yolo_labels_are_scored_as_polygons_and_by_id(yolo, tmp_path):
    for labels in labeled(tmp_path, "yolo", tmp_path / "human"):
        found = scores(tmp_path, *yolo, f"labels={labels}")
        assert found["objects"] == 3
        assert found["mask_iou"]["all"] > 0.93
        assert found["labels"] == str(labels)


def test_voc_labels_are_scored_as_pictures_beside_the_humans_xml_and_by_id(voc, tmp_path):
    for labels in labeled(tmp_path, "voc", tmp_path / "human" / "Annotations"):
        assert scores(tmp_path, *voc, f"labels={labels}")["mask_iou"]["all"] == 1.0
    root = f"human={tmp_path / 'human'}"
    assert scores(tmp_path, "data=voc", root, f"labels={labels}")["mask_iou"]["all"] == 1.0


def video(shapes: list[object]) -> dict:
    frames = {"id": 1, "width": WIDTH, "height": HEIGHT, "file_names": ["a.jpg", "b.jpg"]}
    boxes = [[4, 5, 12, 10], [0, 0, 40, 30]]
    track = {"id": 9, "video_id": 1, "category_id": 1, "bboxes": boxes, "segmentations": shapes}
    return {
        "videos": [frames],
        "annotations": [track],
        "categories": [{"id": 1, "name": "cat"}],
    }


def test_videos_are_compared_frame_by_frame(tmp_path):
    from mal_core.geometry.masks import mask_to_rle

    first, _, last = map(mask_to_rle, masks())
    human = write_json(tmp_path / "human.json", video([first, last]))
    labels = write_json(tmp_path / "labels.json", video([first, None]))
    found = scores(tmp_path, "data=ytvis", f"human={human}", f"labels={labels}")
    assert (found["objects"], found["missing"]) == (2, 1)
    assert found["mask_iou"]["all"] == 0.5


def pack(text: bytes) -> bytes:
    return gzip.compress(b"\xef\xbb\xbf" + text)


@pytest.mark.parametrize("turn", [pack, lambda text: text.decode().encode("utf-16"), gzip.compress])
@pytest.mark.parametrize("key", ["labels", "human"])
def test_packed_and_recoded_files_are_read(key, turn, tmp_path):
    plain = write_json(tmp_path / "plain.json", label(coco()))
    other = tmp_path / "other.json"
    other.write_bytes(turn(plain.read_bytes()))
    found = scores(tmp_path, f"labels={plain}", f"human={plain}", f"{key}={other}")
    assert found["mask_iou"]["all"] == 1.0
    assert found[key] == str(other)


def test_what_is_wrong_in_a_packed_file_is_told_with_its_own_name(tmp_path):
    content = label(coco())
    plain = write_json(tmp_path / "plain.json", content)
    content["annotations"][0]["segmentation"]["size"] = [5, 5]
    packed = tmp_path / "packed.json.gz"
    packed.write_bytes(gzip.compress(json.dumps(content).encode()))
    with pytest.raises(DatasetError) as caught:
        scores(tmp_path, f"labels={packed}", f"human={plain}")
    assert str(caught.value).startswith(f"{packed}: 1 problem\n  - annotation 1 has a mask of ")
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(DatasetError, match=r"is broken gzip: .* Is the file complete"):
        scores(tmp_path, f"labels={packed}", f"human={plain}")


def test_rows_that_are_not_those_of_the_human_files_are_refused(yolo, tmp_path):
    other = Path(shutil.copytree(tmp_path / "human", tmp_path / "other"))
    first, second = (other / "a.txt").read_text().splitlines()
    (other / "a.txt").write_text(f"{second}\n")
    with pytest.raises(DatasetError) as caught:
        scores(tmp_path, *yolo, f"labels={other}")
    assert caught.value.problems == (
        "a.jpg has 1 objects here, 2 in the human files. They are matched by place; "
        "labels/train.json of the same run has ids instead.",
    )
    (other / "a.txt").write_text(f"{second}\n{first}\n")
    with pytest.raises(DatasetError) as caught:
        scores(tmp_path, *yolo, f"labels={other}")
    assert caught.value.problems[0] == (
        f"annotation 1 is of class 'dog' on a.jpg, but in {tmp_path / 'human'} it is of "
        "'cat' on a.jpg. Are both of the same files?"
    )
    (other / "a.txt").unlink()
    found = scores(tmp_path, *yolo, f"labels={other}")
    assert (found["objects"], found["missing"]) == (3, 2)


def test_rows_and_a_coco_file_with_ids_of_its_own_are_refused_in_one_sentence(yolo, tmp_path):
    content = FORMATS["yolo"].to_coco(tmp_path / "images", tmp_path / "human")
    keys = [entry["id"] for entry in content["annotations"]]
    for entry, key in zip(content["annotations"], reversed(keys), strict=True):
        entry["id"] = key
    own = write_json(tmp_path / "own.json", content)
    rows = f"labels={tmp_path / 'human'}"
    with pytest.raises(DatasetError) as caught:
        scores(tmp_path, *yolo, rows, f"human={own}")
    (problem,) = caught.value.problems
    assert problem.startswith("annotation 1 is of class")
    assert "is yolo, which has no ids, so its objects count from 1. Give both as yolo" in problem


def test_the_root_of_rows_is_answered_with_the_folder_that_has_them(yolo, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(tmp_path / "human", root / "labels" / "val")
    (root / "labels" / "val" / "classes.txt").rename(root / "classes.txt")
    with pytest.raises(DatasetError) as caught:
        scores(tmp_path, *yolo, f"labels={root}")
    (problem,) = caught.value.problems
    assert f"those of {root / 'labels' / 'val'} have names of images of" in problem


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["labels={root}/human"], "labels={root}/human: a folder; a file is wanted."),
        (["data=yolo"], "{root}/human is YOLO, which states no sizes of images: give images=DIR"),
        (["data=yolo_obb"], "{root}/human has rotated boxes, which are no masks. Give labels/train."
         "json, which `mal label data=yolo_obb` writes, and human masks with the same ids."),
        (["labels=/dev/null"], "labels=/dev/null: a pipe or a device; a file is wanted."),
    ],
)  # fmt: skip
def test_folders_without_their_format_are_refused(overrides, said, yolo, tmp_path):
    file = write_json(tmp_path / "plain.json", label(coco()))
    human = f"human={tmp_path / 'human' if overrides[0].startswith('data') else file}"
    chosen = [f"labels={file}", human, *(text.format(root=tmp_path) for text in overrides)]
    with pytest.raises(ConfigError) as caught:
        scores(tmp_path, *chosen)
    assert said.format(root=tmp_path) in str(caught.value)


def test_masks_of_voc_without_xml_anywhere_are_refused(voc, tmp_path):
    _, labels = labeled(tmp_path, "voc", tmp_path / "human" / "Annotations")
    file = write_json(tmp_path / "plain.json", label(coco()))
    with pytest.raises(DatasetError, match="human= must be the folder of its XML files"):
        scores(tmp_path, "data=voc", f"human={file}", f"labels={labels}")
