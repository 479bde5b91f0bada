"""Labels against human masks, object by object."""

import json
import math

import pytest

from mal_core.errors import DatasetError
from mal_core.evaluation.agreement import measure_agreement
from tests.mal_core.formats.drawn_formats import coco, label, write_json


@pytest.fixture
def human(tmp_path):
    return write_json(tmp_path / "human.json", label(coco()))


def written(tmp_path, change):
    content = label(coco())
    change(content)
    return write_json(tmp_path / "labels.json", content)


def test_the_human_masks_agree_with_themselves(human):
    found = measure_agreement(human, human).objects
    assert [one.mask_iou for one in found] == [1, 1, 1]
    assert [one.boundary_iou for one in found] == [1, 1, 1]
    assert [one.category for one in found] == ["cat", "dog", "dog"]
    assert [one.size for one in found] == [0, 0, 1]


def test_sizes_go_by_the_box_and_not_by_the_mask(tmp_path):
    content = label(coco())
    content["annotations"][2]["bbox"] = [0, 0, 40, 25.6]
    exactly = write_json(tmp_path / "h.json", content)
    assert [one.size for one in measure_agreement(exactly, exactly).objects] == [0, 0, 1]


def test_a_missing_label_counts_as_zero(tmp_path, human):
    found = measure_agreement(written(tmp_path, lambda c: c["annotations"].pop(0)), human).objects
    assert [(one.mask_iou, one.labeled) for one in found] == [(0, False), (1, True), (1, True)]


@pytest.mark.parametrize("encoding", ["polygon", "uncompressed", "compressed"])
def test_every_encoding_is_read(encoding, tmp_path):
    content = coco()
    for entry in content["annotations"]:
        x, y, w, h = entry["bbox"]
        corners = [x, y, x + w, y, x + w, y + h, x, y + h]
        entry["segmentation"] = [corners]
    polygons = write_json(tmp_path / "p.json", content)
    content = json.loads(polygons.read_text())
    from mal_core.geometry.masks import segmentation_to_mask, segmentation_to_rle

    for entry in content["annotations"]:
        if encoding == "compressed":
            entry["segmentation"] = segmentation_to_rle(entry["segmentation"], 30, 40)
        elif encoding == "uncompressed":
            flat = segmentation_to_mask(entry["segmentation"], 30, 40).ravel(order="F")
            counts, value = [], 0
            while len(flat):
                run = int((flat != value).argmax()) if (flat != value).any() else len(flat)
                counts.append(run)
                flat, value = flat[run:], 1 - value
            entry["segmentation"] = {"size": [30, 40], "counts": counts}
    other = write_json(tmp_path / "o.json", content)
    assert [one.mask_iou for one in measure_agreement(other, polygons).objects] == [1, 1, 1]


def other_ids(content):
    """Ids of the objects of one image change places: first come, first numbered."""
    first, second, _ = content["annotations"]
    first["id"], second["id"] = second["id"], first["id"]
    first["image_id"] = second["image_id"] = 0


def masks_without_boxes(content):
    """Masks of another file: neither boxes nor places are those of the ids."""
    content["annotations"].pop()
    x, y = 36, 26
    for entry in content["annotations"]:
        del entry["bbox"]
        entry["segmentation"] = [[x, y, x + 3, y, x + 3, y + 3, x, y + 3]]


def no_masks(content):
    for entry in content["annotations"]:
        del entry["segmentation"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (no_masks, r"no annotation has a mask \(polygons of at least three points, or RLE\)\."),
        (
            lambda c: [a.update(id=a["id"] + 100) for a in c["annotations"]],
            r"no annotation id in common with \S+, and objects are compared by their ids\. Are "
            r"both files of the same split\? Masks that `mal label` makes from the boxes of the "
            r"human file have its ids\.",
        ),
        (
            lambda c: c["annotations"][1]["segmentation"].update(size=[40, 30]),
            r"annotation 2 has a mask of \[40, 30\]",
        ),
        (
            lambda c: c["annotations"].append(dict(c["annotations"][0])),
            r"annotation 1 occurs more than once\. Give every annotation its own id\.",
        ),
        (
            lambda c: c["annotations"][0].update(image_id=77),
            r"annotation 1 is on image 77, but on image \d+ in the human file\. Are both",
        ),
        (
            lambda c: c["annotations"].append(None),
            r"annotation at position 3 \(counted from 0\) is None, but must be an object\. Correct",
        ),
        (
            lambda c: [a.update(id=str(a["id"])) for a in c["annotations"]],
            r"position 0 \(counted from 0\) has id='1', but it must be a whole number\.",
        ),
        (
            lambda c: c["annotations"][0].update(score=math.nan),
            r"annotation 1 has a NaN or infinite number in score, which JSON does not allow\.",
        ),
        (
            lambda c: c["images"][0].update(width=80),
            r"image 0 is 80 x 30 px, but 40 x 30 px in the human file \(width x height\)\. Are",
        ),
        (
            lambda c: c["images"][0].update(width="40"),
            r"image 0 is '40' x 30 px, but 40 x 30 px in the human file \(width x height\)\. Are",
        ),
        (
            lambda c: [one.update(file_name=f"v/{one['id']}.png") for one in c["images"]],
            r"2 of 2 images have another file_name than in the human file, the first is image 0: "
            r"'v/0\.png' here, 'a\.jpg' there\. Are both files of the same split\?",
        ),
        (lambda c: c.pop("images"), "the list 'images' is missing"),
        (
            lambda c: c["annotations"][1].update(iscrowd="no"),
            r"annotation 2 has iscrowd='no', but it must be 0 or 1\.",
        ),
        (
            lambda c: [one.update(iscrowd=1) for one in c["annotations"]],
            r"its 3 masks are crowds \(iscrowd=1\), which label no single object\. Give iscrowd=0 "
            r"to masks of one object; RLE may have it, too\.",
        ),
        (
            other_ids,
            r"annotation 1 has the box \[20, 2, 15, 25\], but \[4, 5, 12, 10\] in the human file, "
            r"which is another object\. Are both files of the same split\? Give each label the id "
            r"that its object has there\.",
        ),
        (
            masks_without_boxes,
            r"its 2 masks without a bbox are not where the objects of their ids are in the human "
            r"file: on average 6 % of the smaller box is shared\.",
        ),
    ],
)
def test_files_that_cannot_be_compared_are_refused(change, said, tmp_path, human):
    with pytest.raises(DatasetError, match=said):
        measure_agreement(written(tmp_path, change), human)


def notes_of(tmp_path, human, change):
    return measure_agreement(written(tmp_path, change), human).notes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda c: c["annotations"][1].update(category_id=1),
            "1 labels are of another class than the object of their id (1 pairs of classes), the "
            "first is annotation 2: 'cat' here, 'dog' in the human file, whose class is taken",
        ),
        (
            lambda c: c["annotations"].append({"id": 77}),
            "1 labels are of no object of the human file and are left out, the first is 77",
        ),
        (
            lambda c: c["images"][0].update(file_name="z.jpg"),
            "1 images have another file_name than in the human file, the first is "
            "image 0: 'z.jpg' here, 'a.jpg' there",
        ),
        (lambda c: c["images"][0].update(file_name="train\\A.PNG"), None),
        (lambda c: c["annotations"].pop(0), None),
        (lambda c: c["annotations"][0].update(bbox=[3.4, 4.6, 12.7, 11]), None),
        (lambda c: c["annotations"][0].update(bbox=[9, 8, 2, 3]), None),
        (lambda c: c["annotations"][0].pop("bbox"), None),
        (
            lambda c: c["annotations"][1].update(score=87),
            "1 labels have a score that is no number from 0 to 1, the first is annotation 2: 87; "
            "nothing is measured by scores here",
        ),
        (
            lambda c: c["annotations"][1].update(score="0.8"),
            "1 labels have a score that is no number from 0 to 1, the first is annotation 2: "
            "'0.8'; nothing is measured by scores here",
        ),
        (
            lambda c: c["annotations"][2].pop("score"),
            "1 labels have no score, and the others do, the first is 3",
        ),
    ],
)
def test_what_differs_and_what_is_left_out_is_counted(change, said, tmp_path, human):
    assert notes_of(tmp_path, human, change) == (() if said is None else (said,))


def test_a_crowd_is_no_label_of_an_object(tmp_path, human):
    labels = written(tmp_path, lambda c: c["annotations"][1].update(iscrowd=1))
    found = measure_agreement(labels, human)
    assert [(one.mask_iou, one.labeled) for one in found.objects] == [(1, True), (0, False), (1, 1)]
    assert found.notes == (
        "1 labels are crowds, but objects in the human file: they count as absent, the first is 2",
    )


def test_what_the_human_file_does_not_judge_is_left_out_and_counted(tmp_path):
    content = label(coco())
    content["annotations"][0]["iscrowd"] = 1
    blank = write_json(tmp_path / "c.json", content)
    found = measure_agreement(blank, blank)
    assert len(found.objects) == 2
    assert found.notes == ("1 crowds of the human file are left out, the first is 1",)
    for mask in (
        {"size": [30, 40], "counts": [1200]},
        [[4, 5, 8, 9, 12, 13]],
        [[1, 1, 2, 2]],
        [[]],
        {"size": [30, 40], "counts": ""},
    ):
        content = label(coco())
        content["annotations"][0]["segmentation"] = mask
        blank = write_json(tmp_path / "c.json", content)
        found = measure_agreement(blank, blank)
        assert [one.mask_iou for one in found.objects] == [1, 1], mask
        assert found.notes == (
            "1 objects of the human file have no mask or no size and are left out, the first is 1",
        )


def test_a_human_file_without_masks_is_refused(tmp_path, human):
    with pytest.raises(DatasetError, match="no object has a human mask"):
        measure_agreement(human, written(tmp_path, no_masks))


@pytest.mark.parametrize("score", ["hi", {}, [0.5], True, None])
def test_a_score_in_the_human_file_means_nothing(score, tmp_path, human):
    truth = written(tmp_path, lambda c: c["annotations"][0].update(score=score))
    assert [one.mask_iou for one in measure_agreement(human, truth).objects] == [1, 1, 1]
