"""Corrections of every tool come back as exactly the changes that people made."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mal_core.data.adopted import adopt_labels
from mal_core.formats.exports import export_labels
from mal_core.formats.exports.cvat import row_runs
from mal_core.formats.exports.labeled import CROWD, Photos
from mal_core.review.corrections import import_corrections
from tests.builders import HEIGHT, encode
from tests.mal_core.review.reviewed import (
    MASKS,
    Review,
    annotated,
    attribute,
    by_id,
    corrected_xml,
    decisions,
    masks_in,
    shifted,
)

Json = dict[str, Any]


@pytest.fixture
def review(tmp_path: Path) -> Review:
    return Review(tmp_path)


def test_ten_masks_of_label_studio_and_ten_of_cvat_are_exactly_twenty_changes(tmp_path):
    review = Review(tmp_path, masks=40)
    brushed, drawn = review.ids[:10], review.ids[10:20]
    tasks = review.save(annotated(review.queue, review.labeled, brushed))
    xml = tmp_path / "annotations.xml"
    corrected_xml(review.queue, review.labeled, drawn).write(xml)
    first, last = tmp_path / "first.json", tmp_path / "last.json"
    found = import_corrections(review.files.annotations, tasks, first)
    assert set(found.corrected) == set(brushed)
    assert found.unchanged == 30
    assert found.notes == []  # our own boxes among the regions are not worth a word
    found = import_corrections(first, xml, last)
    assert set(found.corrected) == set(drawn)  # though CVAT has the others as they were
    assert not found.rejected
    before, after = review.files.content(), json.loads(last.read_text())
    assert {**after, "annotations": 0} == {**before, "annotations": 0}
    old, new = by_id(review.files.annotations), by_id(last)
    assert list(old) == list(new)
    assert {key for key in old if old[key] != new[key]} == {*brushed, *drawn}
    masks = masks_in(last)
    for key in (*brushed, *drawn):
        wanted = shifted(review.labeled, key)
        assert (masks[key] == wanted).all()
        assert new[key]["source"] == "human"
        assert new[key]["score"] == 1.0
        assert new[key]["area"] == wanted.sum()
        assert new[key]["bbox"] == old[key]["bbox"]
        assert new[key]["note"] == old[key]["note"]
        assert not {"score_interval", "score_components"} & new[key].keys()


def test_a_correction_of_another_humans_correction_is_told(review, tmp_path):
    """By the id, whichever tool; what is a machine's mask so far is not worth a word."""
    first, last, xml = tmp_path / "first.json", tmp_path / "last.json", tmp_path / "a.xml"
    brushed = annotated(review.queue, review.labeled, review.ids[:2])
    found = import_corrections(review.files.annotations, review.save(brushed), first)
    assert found.notes == []
    tree = corrected_xml(review.queue, review.labeled, review.ids[1:4])
    both = [mask for mask in tree.iter("mask") if attribute(mask).text == str(review.ids[1])]
    both[0].set("top", "1")  # a px further down than what the other tool has
    both[0].set("height", str(HEIGHT - 1))
    rows = shifted(review.labeled, review.ids[1])[:-1]
    both[0].set("rle", ", ".join(map(str, row_runs(rows))))
    tree.write(xml)
    found = import_corrections(first, xml, last)
    assert set(found.corrected) == set(review.ids[1:4])
    assert found.notes == [
        f"1 masks replace another human's correction: annotations {review.ids[1]}"
    ]
    wanted = np.roll(shifted(review.labeled, review.ids[1]), 1, axis=0)
    assert (masks_in(last)[review.ids[1]] == wanted).all()


def test_the_bytes_of_other_labels_stay_as_they_were(review, tmp_path):
    """Of labels as we write them: what is between two corrected masks is the same text."""
    text = review.files.annotations.read_text()
    tasks = review.save(annotated(review.queue, review.labeled, review.ids[:1]))
    import_corrections(review.files.annotations, tasks, tmp_path / "out.json")
    after = (tmp_path / "out.json").read_text()
    entries = {json.dumps(entry) for entry in json.loads(text)["annotations"]}
    assert sum(entry in after for entry in entries) == len(entries) - 1


def polygons(review: Review, ids: list[int]) -> Path:
    return review.save(annotated(review.queue, review.labeled, ids, "mal polygons"))


def coco_of_cvat(review: Review, ids: list[int]) -> Path:
    """As CVAT writes it: numbered anew, masks as crowds, ours among the attributes."""
    content = json.loads((review.queue / "cvat" / "instances.json").read_text())
    for number, entry in enumerate(content["annotations"], start=1):
        key, entry["id"] = entry["id"], number
        if key in ids:
            entry["segmentation"] = encode(shifted(review.labeled, key))
            entry["iscrowd"] = 1
    return review.save(content)


def coco_with_own_ids(review: Review, ids: list[int]) -> Path:
    content = review.files.content()
    content["annotations"] = [
        {**entry, "segmentation": encode(shifted(review.labeled, entry["id"]))}
        for entry in content["annotations"]
        if entry["id"] in ids
    ]
    return review.save(content)


def packed(review: Review, ids: list[int]) -> Path:
    path = review.folder / "annotations.xml"
    corrected_xml(review.queue, review.labeled, ids).write(path)
    path.write_bytes(gzip.compress(path.read_bytes()))
    return path


@pytest.mark.parametrize("written", [polygons, coco_of_cvat, coco_with_own_ids, packed])
def test_each_form_brings_back_what_was_changed_and_nothing_else(written, review, tmp_path):
    ids = review.ids[:5]
    path = written(review, ids)
    found = import_corrections(review.files.annotations, path, tmp_path / "out.json")
    assert set(found.corrected) == set(ids)
    masks = masks_in(tmp_path / "out.json")
    for key in ids:
        assert (masks[key] == shifted(review.labeled, key)).all()


@pytest.mark.parametrize("name", ["label_studio", "annotations.xml", "instances.json"])
def test_what_export_labels_writes_comes_back_as_well(name, review, tmp_path):
    form = name if name == "label_studio" else "cvat"
    losses = export_labels(review.files.annotations, form, tmp_path / "x", Photos())
    crowds = [entry["id"] for entry in review.files.content()["annotations"] if entry["iscrowd"]]
    assert losses.left_out[CROWD] == crowds
    if form == "cvat":
        path = tmp_path / "x" / name
        if name == "instances.json":
            assert not set(crowds) & set(by_id(path))
    else:
        (tmp_path / "q").mkdir()
        (tmp_path / "x").rename(tmp_path / "q" / "label_studio")
        path = review.save(annotated(tmp_path / "q", review.labeled, []))
    found = import_corrections(review.files.annotations, path, tmp_path / "out.json")
    assert not found.corrected
    assert found.unchanged == MASKS
    assert json.loads((tmp_path / "out.json").read_text()) == review.files.content()


def test_a_mask_drawn_anew_belongs_to_the_box_that_it_fills(review, tmp_path):
    key = review.ids[0]
    tasks = annotated(review.queue, review.labeled, [key])
    for task in tasks:
        for region in task["annotations"][0]["result"]:
            if region["id"] == f"mask_{key}":
                region["id"] = "Xy9_aQ"
    found = import_corrections(review.files.annotations, review.save(tasks), tmp_path / "out.json")
    assert set(found.corrected) == {key}
    assert any("drawn anew" in note for note in found.notes)


def test_a_removed_region_is_told_and_changes_nothing(review, tmp_path):
    key = review.ids[3]
    tasks = annotated(review.queue, review.labeled, [])
    for task in tasks:
        result = task["annotations"][0]["result"]
        result[:] = [region for region in result if not region["id"].endswith(f"_{key}")]
    found = import_corrections(review.files.annotations, review.save(tasks), tmp_path / "out.json")
    assert found.gone == [key]
    assert any(f"annotations {key}." in line for line in found.lines())
    assert json.loads((tmp_path / "out.json").read_text()) == review.files.content()


def test_a_rejected_mask_is_a_skip_with_its_reason(review, tmp_path):
    accepted, rejected, put_off = review.ids[:3]
    choices = {accepted: "accept", rejected: "reject", put_off: "fix"}
    path = review.save(decisions(review, choices))
    out = tmp_path / "out.json"
    found = import_corrections(review.files.annotations, path, out)
    assert (found.rejected, found.accepted, found.to_fix) == ([rejected], 1, 1)
    old, new = by_id(review.files.annotations), by_id(out)
    assert {key for key in old if old[key] != new[key]} == {rejected}
    assert new[rejected]["bbox"] == old[rejected]["bbox"]
    labels = adopt_labels(
        review.files.annotations,
        out,
        images=review.files.images,
        strict=False,
        output=tmp_path / "train.json",
        ledger=tmp_path / "skipped.json",
    )
    assert labels.num_skipped == {"a reviewer rejected its mask": 1}
    assert rejected not in by_id(tmp_path / "train.json")


def test_who_drew_a_mask_is_known_in_the_labels_of_phase_two(review, tmp_path):
    key = review.ids[0]
    tasks = review.save(annotated(review.queue, review.labeled, [key]))
    import_corrections(review.files.annotations, tasks, tmp_path / "out.json")
    for source in (review.files.annotations, tmp_path / "out.json"):
        adopt_labels(
            source,
            tmp_path / "out.json",
            images=review.files.images,
            strict=False,
            output=tmp_path / "train.json",
            ledger=tmp_path / "skipped.json",
        )
        found = by_id(tmp_path / "train.json")
        assert [one for one in found if found[one].get("source") == "human"] == [key]
        assert found[key]["score"] == 1.0
    # The word of a human about an earlier mask says nothing of the next one.
    adopt_labels(
        tmp_path / "out.json",
        review.files.annotations,
        images=review.files.images,
        strict=False,
        output=tmp_path / "train.json",
        ledger=tmp_path / "skipped.json",
    )
    assert "source" not in by_id(tmp_path / "train.json")[key]


def test_what_was_rejected_stays_so_until_somebody_draws_it(review, tmp_path):
    key, other = review.ids[:2]
    first, second, last = (tmp_path / f"{name}.json" for name in ("first", "second", "last"))
    path = review.save(decisions(review, {key: "reject"}))
    import_corrections(review.files.annotations, path, first)
    again = import_corrections(first, path, second)
    assert (again.rejected, again.unchanged) == ([], 1)
    assert second.read_text() == first.read_text()
    untouched = review.save(annotated(review.queue, review.labeled, [other]))
    found = import_corrections(first, untouched, second)
    assert set(found.corrected) == {other}
    assert "segmentation" not in by_id(second)[key]
    drawn = review.save(annotated(review.queue, review.labeled, [key]))
    found = import_corrections(second, drawn, last)
    assert set(found.corrected) == {key}
    assert (masks_in(last)[key] == shifted(review.labeled, key)).all()
    assert "review" not in by_id(last)[key]
