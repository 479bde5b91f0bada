"""Pseudo-label files: everything of the source is kept, masks are ours, every box is counted."""

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mal_core.data.coco import read_boxes, strip_masks
from mal_core.data.pseudo_labels import (
    is_component,
    is_score,
    restore_crowds,
    score_problem,
    write_pseudo_labels,
)
from mal_core.errors import LabelingError
from mal_core.types import PseudoLabel, PseudoLabelSet, SkippedBox, SkipReason
from tests.builders import HEIGHT, WIDTH, CocoFiles, encode, write_coco

SKIPPED_ID = 2001


@pytest.fixture
def files(tmp_path: Path) -> CocoFiles:
    return write_coco(tmp_path, with_crowd=True)


def pseudo_label(annotation_id: int, size: int = 4) -> PseudoLabel:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[3 : 3 + size, annotation_id % 7 : annotation_id % 7 + size] = 1
    return PseudoLabel(
        annotation_id=annotation_id, rle=encode(mask), mask_area=size * size, score=0.75
    )


def labels_of(files: CocoFiles) -> list[PseudoLabel]:
    entries = files.content()["annotations"]
    ids = [e["id"] for e in entries if not e["iscrowd"] and e["id"] != SKIPPED_ID]
    return [pseudo_label(key) for key in ids]


def skip(annotation_id: int = SKIPPED_ID, image_id: int = 20) -> SkippedBox:
    return SkippedBox(annotation_id=annotation_id, image_id=image_id, reason=SkipReason.EMPTY_MASK)


def write(
    files: CocoFiles, labels: list[PseudoLabel], skipped: list[SkippedBox], name: str = "labels"
) -> PseudoLabelSet:
    folder = files.annotations.parent / name
    return write_pseudo_labels(
        files.annotations, labels, skipped, folder / "train.json", folder / "skipped.json"
    )


def test_every_field_of_the_source_is_kept(files: CocoFiles) -> None:
    result = write(files, labels_of(files), [skip()])
    source, out = files.content(), json.loads(result.annotations.read_text())
    assert list(out) == list(source)
    for key in ("info", "licenses", "images", "categories", "kept"):
        assert out[key] == source[key]
    kept = [entry for entry in source["annotations"] if entry["id"] != SKIPPED_ID]
    for before, after in zip(kept, out["annotations"], strict=True):
        ours = {"segmentation", "area", "score"}
        assert {k: v for k, v in after.items() if k not in ours} == {
            k: v for k, v in before.items() if k not in ours
        }


def test_each_box_gets_its_own_mask_area_and_score(files: CocoFiles) -> None:
    labels = {label.annotation_id: label for label in labels_of(files)}
    out = json.loads(write(files, list(labels.values()), [skip()]).annotations.read_text())
    for entry in out["annotations"]:
        if not entry["iscrowd"]:
            assert entry["segmentation"] == labels[entry["id"]].rle
            assert isinstance(entry["segmentation"]["counts"], str)
            assert entry["area"] == coco_mask.area(entry["segmentation"]) == 16
            assert entry["score"] == 0.75


def test_crowds_pass_through_untouched(files: CocoFiles) -> None:
    source = files.content()["annotations"]
    out = json.loads(write(files, labels_of(files), [skip()]).annotations.read_text())
    crowds = [json.dumps(e) for e in out["annotations"] if e["iscrowd"]]
    assert crowds == [json.dumps(e) for e in source if e["iscrowd"]]
    assert len(crowds) == 1


def test_human_masks_of_the_source_never_reach_the_output(files: CocoFiles) -> None:
    clean = write(files, labels_of(files), [skip()], "clean")
    content = files.content()
    for entry in content["annotations"]:
        if not entry["iscrowd"]:
            entry.update(segmentation=[[666, 666, 667, 667, 668, 669]], area=666, score=666)
    files.rewrite(content)
    poisoned = write(files, labels_of(files), [skip()], "poisoned")
    assert poisoned.annotations.read_bytes() == clean.annotations.read_bytes()
    assert "666" not in poisoned.annotations.read_text()


def test_the_same_labels_in_another_order_give_the_same_bytes(files: CocoFiles) -> None:
    labels = labels_of(files)
    first = write(files, labels, [skip()], "a")
    second = write(files, labels[::-1], [skip()], "b")
    assert first.annotations.read_bytes() == second.annotations.read_bytes()
    assert first.ledger.read_bytes() == second.ledger.read_bytes()


def test_skipped_boxes_are_in_the_ledger_and_nowhere_else(files: CocoFiles) -> None:
    result = write(files, labels_of(files), [skip()])
    ledger = json.loads(result.ledger.read_text())
    assert ledger["skipped"] == [
        {"annotation_id": SKIPPED_ID, "image_id": 20, "reason": str(SkipReason.EMPTY_MASK)}
    ]
    assert (ledger["num_boxes"], ledger["num_masks"], ledger["num_crowds"]) == (7, 5, 1)
    ids = [e["id"] for e in json.loads(result.annotations.read_text())["annotations"]]
    assert SKIPPED_ID not in ids
    assert len(ids) == 6


def test_boxes_in_are_masks_crowds_and_skips(files: CocoFiles) -> None:
    result = write(files, labels_of(files), [skip()])
    assert (result.num_boxes, result.num_masks, result.num_crowds) == (7, 5, 1)
    assert dict(result.num_skipped) == {str(SkipReason.EMPTY_MASK): 1}
    assert "boxes in 7 = masks 5 + crowds 1 + skipped 1" in result.summary()


def test_the_file_loads_in_pycocotools_with_the_same_masks(files: CocoFiles) -> None:
    """Spec S15."""
    result = write(files, labels_of(files), [skip()])
    coco = COCO(str(result.annotations))
    for entry in coco.loadAnns(coco.getAnnIds(iscrowd=False)):
        assert coco.annToMask(entry).sum() == entry["area"]
    assert len(coco.getAnnIds(iscrowd=True)) == 1


def test_the_written_file_is_read_again_as_the_same_boxes(files: CocoFiles) -> None:
    """Spec S15."""
    result = write(files, [*labels_of(files), pseudo_label(SKIPPED_ID)], [])
    again = CocoFiles(images=files.images, annotations=result.annotations).read()
    assert again.boxes == files.read().boxes


def test_a_forgotten_box_is_an_error_that_names_it(files: CocoFiles) -> None:
    with pytest.raises(LabelingError, match="2001: neither labeled nor skipped"):
        write(files, labels_of(files), [])


@pytest.mark.parametrize(
    ("extra", "skipped", "expected"),
    [
        ([SKIPPED_ID], [SKIPPED_ID], "annotations 2001: labeled and skipped"),
        ([7], [SKIPPED_ID], "annotations 7: crowds"),
        ([], [SKIPPED_ID, 7], "annotations 7: crowds"),
        ([555], [SKIPPED_ID], "annotations 555: not in the source"),
        ([1000], [SKIPPED_ID], "annotations 1000: labeled more than once"),
        ([], [SKIPPED_ID, SKIPPED_ID], "annotations 2001: skipped more than once"),
    ],
)
def test_a_box_with_two_fates_or_none_of_ours_is_refused_before_anything_is_written(
    files: CocoFiles, extra: list[int], skipped: list[int], expected: str
) -> None:
    labels = [*labels_of(files), *(pseudo_label(key) for key in extra)]
    with pytest.raises(LabelingError, match=expected):
        write(files, labels, [skip(key) for key in skipped])
    assert not (files.annotations.parent / "labels").exists()


@pytest.mark.parametrize("wrong", ["size", "bytes", "empty"])
def test_masks_that_would_break_phase_2_are_refused(files: CocoFiles, wrong: str) -> None:
    labels = labels_of(files)
    rle = copy.deepcopy(labels[0].rle)
    area = labels[0].mask_area
    if wrong == "size":
        rle["size"] = [WIDTH, HEIGHT]
    elif wrong == "bytes":
        rle["counts"] = str(rle["counts"]).encode()
    else:
        area = 0
    broken = PseudoLabel(annotation_id=1000, rle=rle, mask_area=area, score=0.5)
    with pytest.raises(LabelingError, match="annotations 1000: mask empty, or not of its image"):
        write(files, [broken, *labels[1:]], [skip()])


def test_a_source_that_is_no_json_after_all_leaves_no_file(files: CocoFiles) -> None:
    content = files.content()
    content["info"]["version"] = math.nan
    files.rewrite(content)
    with pytest.raises(LabelingError, match="cannot be written as JSON"):
        write(files, labels_of(files), [skip()])
    assert not (files.annotations.parent / "labels" / "train.json").exists()


def test_an_accounting_that_does_not_add_up_cannot_be_constructed(tmp_path: Path) -> None:
    with pytest.raises(LabelingError, match="7 boxes went in"):
        PseudoLabelSet(
            annotations=tmp_path,
            ledger=tmp_path,
            num_boxes=7,
            num_masks=5,
            num_crowds=1,
            num_skipped={},
        )


def test_the_references_file_has_box_areas_and_no_crowds(files: CocoFiles) -> None:
    """Spec Q5, with the quirk switched on."""
    folder = files.annotations.parent / "official"
    dataset = read_boxes(files.images, files.annotations, crowds_as_objects=True)
    labels = [pseudo_label(box.annotation_id) for box in dataset.boxes]
    result = write_pseudo_labels(
        files.annotations,
        labels,
        [],
        folder / "train.json",
        folder / "skipped.json",
        compat_official=True,
    )
    entries = json.loads(result.annotations.read_text())["annotations"]
    assert (result.num_crowds, result.num_masks) == (0, len(entries))
    assert len(entries) == len(files.content()["annotations"])
    for entry in entries:
        assert entry["iscrowd"] == 0
        assert entry["area"] == entry["bbox"][2] * entry["bbox"][3]


def test_crowds_get_back_what_the_source_says_of_them(tmp_path: Path) -> None:
    files = write_coco(tmp_path, with_crowd=True)
    stripped, whole = tmp_path / "boxes.json", tmp_path / "whole.json"
    strip_masks(files.annotations, stripped)
    content = files.content()
    labels = [
        PseudoLabel(
            annotation_id=entry["id"], rle=entry["segmentation"], mask_area=entry["area"], score=0.5
        )
        for entry in content["annotations"]
        if not entry["iscrowd"]
    ]
    made = {}
    for source, target in ((files.annotations, whole), (stripped, tmp_path / "made.json")):
        write_pseudo_labels(source, labels, [], target, tmp_path / "ledger.json")
        made[target] = target.read_bytes()
    assert len(set(made.values())) == 2
    restore_crowds(tmp_path / "made.json", files.annotations)
    assert (tmp_path / "made.json").read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("value", [0, 1, 0.5, 1.0])
def test_scores(value: object) -> None:
    assert is_score(value)
    assert score_problem(7, value) is None


@pytest.mark.parametrize(
    "value", [None, True, "0.5", [0.5], -0.1, 1.1, math.nan, math.inf, 10**400]
)
def test_what_is_no_score_is_refused_with_its_annotation(value: object) -> None:
    problem = score_problem(7, value)
    assert problem is not None
    assert problem.startswith("annotation 7 has score=")


@pytest.mark.parametrize(("value", "fits"), [(-3.5, True), (2, True), (10**400, False)])
def test_components_may_lie_beyond_a_score_but_not_far(value: object, fits: bool) -> None:
    assert is_component(value) == fits
