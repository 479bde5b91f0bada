"""Masks from another tool as pseudo-labels."""

import json

import pytest

from mal_core.data.adopted import adopt_labels
from mal_core.errors import DatasetError
from tests.mal_core.formats.drawn_formats import coco, draw, label, masks, write_json


@pytest.fixture
def adopt(tmp_path):
    """Adopt changed labels; returns the accounting, the labeled file and the ledger."""
    source = write_json(tmp_path / "source.json", coco())
    images = draw(tmp_path / "images")

    def run(change):
        content = label(coco())
        change(content)
        given = write_json(tmp_path / "given.json", content)
        output, ledger = tmp_path / "out" / "train.json", tmp_path / "out" / "skipped.json"
        result = adopt_labels(
            source, given, images=images, strict=False, output=output, ledger=ledger
        )
        return result, json.loads(output.read_text()), json.loads(ledger.read_text())

    return run


def test_masks_and_scores_are_taken_and_everything_else_is_the_sources(adopt):
    result, labeled, _ = adopt(lambda c: c["annotations"][1].update(category_id=1, score=0.25))
    assert (result.num_masks, result.num_boxes) == (3, 3)
    assert [entry["category_id"] for entry in labeled["annotations"]] == [1, 2, 2]
    assert [entry["area"] for entry in labeled["annotations"]] == [int(m.sum()) for m in masks()]
    assert [entry["score"] for entry in labeled["annotations"]] == [0.9, 0.25, 0.9]


def test_boxes_without_a_mask_are_counted_with_their_reason(adopt):
    def change(content):
        content["annotations"].pop(0)
        content["annotations"][0]["segmentation"] = {"size": [30, 40], "counts": [1200]}

    result, labeled, ledger = adopt(change)
    assert [entry["id"] for entry in labeled["annotations"]] == [3]
    assert dict(result.num_skipped) == {
        "the given labels have no mask for it": 1,
        "the labeler found no mask pixel": 1,
    }
    assert [entry["annotation_id"] for entry in ledger["skipped"]] == [1, 2]


def test_a_crowd_of_the_given_labels_is_no_mask_of_an_object(adopt, caplog, tmp_path):
    caplog.set_level("INFO")
    result, labeled, _ = adopt(lambda c: c["annotations"][1].update(iscrowd=1))
    assert [entry["id"] for entry in labeled["annotations"]] == [1, 3]
    assert dict(result.num_skipped) == {"the given labels have no mask for it": 1}
    assert caplog.messages == [
        f"note: 1 annotations of {tmp_path / 'given.json'} are crowds, but objects in the file of "
        "the boxes, the first is annotation 2: their masks are left out"
    ]


def no_masks(content):
    for entry in content["annotations"]:
        del entry["segmentation"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (no_masks, "no annotation has the id of a box"),
        (
            lambda c: c["annotations"][2]["segmentation"].update(size=[40, 30]),
            r"annotation 3 has a mask of \[40, 30\]",
        ),
        (
            lambda c: c["annotations"][0].update(segmentation="x"),
            "annotation 1 has segmentation='x', but a mask is",
        ),
        (
            lambda c: c["annotations"].append(dict(c["annotations"][0], score=0.1)),
            r"annotation 1 occurs more than once\. Give every annotation its own id\.",
        ),
        (lambda c: c.pop("annotations"), "the list 'annotations' is missing"),
        (
            lambda c: c["annotations"][0].update(iscrowd=2),
            r"annotation 1 has iscrowd=2, but it must be 0 or 1\.",
        ),
        (
            lambda c: [one.update(iscrowd=1) for one in c["annotations"]],
            r"its 3 masks of boxes of \S+source\.json are crowds \(iscrowd=1\), which are masks of "
            r"no single object\. Give iscrowd=0 to masks of one object; RLE may have it, too\.",
        ),
        (
            lambda c: c["annotations"][0].update(image_id="0"),
            r"annotation 1 is on image '0', but on image 0 of \S+source\.json\. Is it the right",
        ),
        (
            lambda c: c["images"][1].update(width=80),
            r"image 1 is 80 x 30 px, but 40 x 30 px in \S+source\.json \(width x height\)\. Is it",
        ),
    ],
)
def test_labels_that_cannot_be_used_are_refused(change, said, adopt):
    with pytest.raises(DatasetError, match=said):
        adopt(change)


def test_masks_of_another_file_with_the_same_ids_are_refused(adopt):
    """Ids start at 1 everywhere; masks that lie elsewhere tell the file apart."""

    def change(content):
        ids = [entry["id"] for entry in content["annotations"]]
        for entry, other in zip(content["annotations"], [*ids[1:], ids[0]], strict=True):
            entry["id"] = other

    with pytest.raises(DatasetError, match="Is it the right file"):
        adopt(change)


def test_a_mask_of_another_place_among_others_is_told(adopt, caplog, tmp_path):
    def change(content):
        content["annotations"][0]["segmentation"] = [[30, 22, 39, 22, 39, 29, 30, 29]]

    caplog.set_level("INFO")
    adopt(change)
    assert (
        f"note: 1 of 3 masks of {tmp_path / 'given.json'} are not where the boxes of their ids "
        "are, the first is annotation 1: they are taken as they are"
    ) in caplog.messages
    caplog.clear()
    adopt(lambda content: None)
    assert not caplog.messages
