"""Labels against human masks, object by object."""

import json

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
    found = measure_agreement(human, human)
    assert [one.mask_iou for one in found] == [1, 1, 1]
    assert [one.boundary_iou for one in found] == [1, 1, 1]
    assert [one.category for one in found] == ["cat", "dog", "dog"]
    assert [one.size for one in found] == [0, 0, 1]


def test_sizes_go_by_the_box_and_not_by_the_mask(tmp_path):
    content = label(coco())
    content["annotations"][2]["bbox"] = [0, 0, 40, 25.6]
    exactly = write_json(tmp_path / "h.json", content)
    assert [one.size for one in measure_agreement(exactly, exactly)] == [0, 0, 1]


def test_a_missing_label_counts_as_zero(tmp_path, human):
    found = measure_agreement(written(tmp_path, lambda c: c["annotations"].pop(0)), human)
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
    assert [one.mask_iou for one in measure_agreement(other, polygons)] == [1, 1, 1]


def no_masks(content):
    for entry in content["annotations"]:
        del entry["segmentation"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (no_masks, "no annotation id in common"),
        (lambda c: [a.update(id=a["id"] + 100) for a in c["annotations"]], "no annotation id in"),
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
        (lambda c: c.pop("images"), "the list 'images' is missing"),
    ],
)
def test_files_that_cannot_be_compared_are_refused(change, said, tmp_path, human):
    with pytest.raises(DatasetError, match=said):
        measure_agreement(written(tmp_path, change), human)


def test_a_human_file_without_masks_is_refused(tmp_path, human):
    with pytest.raises(DatasetError, match="no object has a human mask"):
        measure_agreement(human, written(tmp_path, no_masks))
