"""A detector's results list as boxes, and the same list with masks."""

import json

import pytest

from mal_core.errors import DatasetError
from mal_core.formats.detections import detections_to_coco, write_detections
from tests.mal_core.formats.drawn_formats import coco, write_json

LIST = [
    {"image_id": 1, "category_id": 2, "bbox": [-3.5, 2, 10, 10.5], "score": 0.25, "extra": "x"},
    {"image_id": 0, "category_id": 1, "bbox": [4, 5, 12, 10], "score": 0.75},
]


def test_entries_become_annotations_inside_their_image(tmp_path):
    normal = detections_to_coco(write_json(tmp_path / "d.json", LIST), coco())
    assert [a["bbox"] for a in normal["annotations"]] == [[0, 2, 6.5, 10.5], [4, 5, 12, 10]]
    assert [a["id"] for a in normal["annotations"]] == [1, 2]
    assert normal["categories"] == coco()["categories"]


def test_a_box_outside_its_image_has_no_size(tmp_path):
    far = [{**LIST[0], "bbox": [100, 5, 20, 20]}]
    normal = detections_to_coco(write_json(tmp_path / "d.json", far), coco())
    assert normal["annotations"][0]["bbox"] == [40, 5, 0, 20]


def test_the_list_returns_with_masks_in_its_own_order(tmp_path):
    source = write_json(tmp_path / "d.json", LIST)
    labeled = {"annotations": [{"id": 2, "segmentation": {"size": [30, 40], "counts": "x"}}]}
    write_detections(labeled, source, tmp_path / "out.json")
    written = json.loads((tmp_path / "out.json").read_text())
    assert written == [
        LIST[0],
        {**LIST[1], "segmentation": {"size": [30, 40], "counts": "x"}},
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_id": 9}, "detection 0 .* image_id=9"),
        ({"category_id": 0}, "detection 0 .* category_id=0"),
        ({"score": None}, "detection 0 .* score=None"),
        ({"score": float("nan")}, "detection 0 .* score=nan"),
        ({"bbox": [1, 2, 3]}, "detection 0 .* bbox="),
        ({"bbox": "1 2 3 4"}, "detection 0 .* bbox="),
    ],
)
def test_what_is_wrong_is_said_with_its_place(change, said, tmp_path):
    broken = [{**LIST[0], **change}, LIST[1]]
    with pytest.raises(DatasetError, match=said):
        detections_to_coco(write_json(tmp_path / "d.json", broken), coco())


@pytest.mark.parametrize(("content", "said"), [({}, "no list"), ([], "empty"), ([3], "object")])
def test_other_files_are_refused(content, said, tmp_path):
    with pytest.raises(DatasetError, match=said):
        detections_to_coco(write_json(tmp_path / "d.json", content), coco())


def test_missing_fields_are_named(tmp_path):
    broken = [{"image_id": 1, "bbox": [0, 0, 1, 1]}]
    with pytest.raises(DatasetError, match="has no category_id, score"):
        detections_to_coco(write_json(tmp_path / "d.json", broken), coco())


def shifted(change, count=6):
    boxes = [[4 + k, 5 + k, 12, 10] for k in range(count)]
    return [{**LIST[1], "bbox": change(*map(float, box))} for box in boxes]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda x, y, w, h: [x + 15, y + 8, x + 15 + w, y + 8 + h],
            "its 6 boxes all fit their images as [x1, y1, x2, y2], and 6 do not as [x, y, width, "
            "height], which is wanted. If that is what they are: Subtract x1 from x2 and y1 from "
            "y2.",
        ),
        (
            lambda x, y, w, h: [x + 18 + w / 2, y + 8 + h / 2, w, h],
            "its 6 boxes all fit their images as [x_center, y_center, width, height], and 3 do not "
            "as [x, y, width, height], which is wanted. If that is what they are: Subtract half of "
            "the width from x and half of the height from y.",
        ),
        (
            lambda x, y, w, h: [x / 40, y / 30, w / 40, h / 30],
            "6 of 6 boxes have all numbers from 0 to 1 and look normalised, but [x, y, width, "
            "height] in px is wanted.",
        ),
    ],
)
def test_boxes_of_another_form_are_refused_and_not_clipped(change, problem, tmp_path):
    with pytest.raises(DatasetError) as caught:
        detections_to_coco(write_json(tmp_path / "d.json", shifted(change)), coco())
    assert caught.value.problems == (problem,)


def test_a_box_over_the_border_among_others_is_clipped(tmp_path):
    found = shifted(lambda x, y, w, h: [x, y, w, h])
    found[0]["bbox"] = [10, 5, 38, 20]
    normal = detections_to_coco(write_json(tmp_path / "d.json", found), coco())
    assert normal["annotations"][0]["bbox"] == [10, 5, 30, 20]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"image_id": "0"},
            "has image_id='0', which the annotation file lacks. Write the number 0.",
        ),
        (
            {"image_id": "B"},
            "has image_id='B', which the annotation file lacks. It is the name of image 1: write "
            "that number.",
        ),
        (
            {"image_id": "images/a.jpg"},
            "has image_id='images/a.jpg', which the annotation file lacks. It is the name of image "
            "0: write that number.",
        ),
        (
            {"image_id": 7},
            "has image_id=7, which the annotation file lacks. Write the id of an image of that "
            "file, or drop the entry.",
        ),
        (
            {"file_name": "b.jpg"},
            "has image_id=0 and file_name='b.jpg', which is the name of image 1. Correct one of "
            "the two.",
        ),
        ({"file_name": "runs/a.jpg"}, None),
        ({"file_name": "other.jpg"}, None),
        ({"file_name": 5}, None),
        (
            {"category_id": " dog"},
            "has category_id=' dog', which no category has. It is the name of category 2: write "
            "that number.",
        ),
        (
            {"category_id": 0},
            "has category_id=0, which no category has. Are classes counted from 0 here? Those of "
            "the file are counted from 1.",
        ),
        (
            {"category_id": 2.0},
            "has category_id=2.0, which no category has. Write the number 2.",
        ),
    ],
)
def test_what_a_detection_names_is_told_with_what_was_meant(change, said, tmp_path):
    path = write_json(tmp_path / "d.json", [{**LIST[1], **change}])
    if said is None:
        assert len(detections_to_coco(path, coco())["annotations"]) == 1
        return
    with pytest.raises(DatasetError) as caught:
        detections_to_coco(path, coco())
    assert caught.value.problems == (f"detection 0 (counted from 0) {said}",)


def test_a_detection_without_a_score_is_told_what_to_do(tmp_path):
    path = write_json(
        tmp_path / "d.json", [{"image_id": 0, "category_id": 1, "bbox": [1, 1, 2, 2]}]
    )
    with pytest.raises(DatasetError) as caught:
        detections_to_coco(path, coco())
    assert caught.value.problems == (
        "detection 0 (counted from 0) has no score. Add it, or drop the entry.",
    )
