"""What did not come back, or is no mask, is told with its ids and changes nothing."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from mal_core.review.corrections import Imported, import_corrections
from tests.mal_core.review.reviewed import (
    Review,
    annotated,
    attribute,
    by_id,
    corrected_xml,
    write_queue,
)


@pytest.fixture
def review(tmp_path: Path) -> Review:
    return Review(tmp_path)


def unchanged(review: Review, path: Path) -> Imported:
    """Import a file that corrects nothing."""
    out = review.folder / "out.json"
    found = import_corrections(review.files.annotations, path, out)
    assert not found.corrected
    assert json.loads(out.read_text()) == review.files.content()
    return found


def absent(ids: list[int]) -> str:
    return (
        f"{len(ids)} masks of photos in this file are not in it and stay as they are, never sent "
        "or deleted there; the lowest score first: annotations "
        f"{', '.join(map(str, ids))}. Reject them on the page of the review, if they should go."
    )


def without(review: Review, ids: list[int]) -> "ElementTree.ElementTree":
    tree = corrected_xml(review.queue, review.labeled, [])
    for image in tree.iter("image"):
        for mask in list(image.iter("mask")):
            if int(attribute(mask).text or "") in ids:
                image.remove(mask)
    return tree


@pytest.mark.parametrize("folder", ["", "task/"])
def test_masks_deleted_in_cvat_are_told(folder, review):
    gone = sorted(review.ids[1:5:3], key=lambda key: by_id(review.files.annotations)[key]["score"])
    tree = without(review, gone)
    for image in tree.iter("image"):
        image.set("name", folder + image.attrib["name"])
    tree.write(review.folder / "a.xml")
    found = unchanged(review, review.folder / "a.xml")
    assert (found.absent, found.notes) == (gone, [])
    assert absent(gone) in found.lines()
    assert found.unchanged == len(review.ids) - 2


def test_a_photo_that_a_cvat_file_does_not_have_is_not_asked_for(review):
    tree = corrected_xml(review.queue, review.labeled, [])
    root = tree.getroot()
    assert root is not None
    root.remove(next(tree.iter("image")))
    tree.write(review.folder / "a.xml")
    assert unchanged(review, review.folder / "a.xml").absent == []


def test_masks_deleted_in_cvats_coco_are_told(review):
    content = json.loads((review.queue / "cvat" / "instances.json").read_text())
    gone = review.ids[2]
    content["annotations"] = [one for one in content["annotations"] if one["id"] != gone]
    assert absent([gone]) in unchanged(review, review.save(content)).lines()


def test_a_coco_file_of_a_part_says_nothing_of_the_rest(review):
    content = review.files.content()
    content["annotations"] = content["annotations"][:1]
    assert unchanged(review, review.save(content)).absent == []


def test_regions_of_label_studio_that_are_no_masks_are_told(review):
    tasks = annotated(review.queue, review.labeled, [])
    kinds = {"el": "ellipselabels", "kp": "keypointlabels", "el2": "ellipselabels"}
    for (name, kind), task in zip(kinds.items(), tasks, strict=False):
        value = {"x": 50, "y": 50, "radiusX": 9, "radiusY": 9, kind: ["disc"]}
        task["annotations"][0]["result"].append({"id": name, "type": kind, "value": value})
    assert unchanged(review, review.save(tasks)).notes == [
        "2 x ellipselabels is no mask and is left out: task 1, region el; task 3, region el2",
        "1 x keypointlabels is no mask and is left out: task 2, region kp",
    ]


def test_shapes_of_cvat_that_are_no_masks_are_told(review):
    tree = corrected_xml(review.queue, review.labeled, [])
    image = next(tree.iter("image"))
    ElementTree.SubElement(image, "ellipse", label="disc", cx="9", cy="9", rx="3", ry="3")
    ellipse = ElementTree.SubElement(image, "ellipse", label="disc", cx="9", cy="9", rx="3", ry="3")
    key = str(review.ids[0])
    ElementTree.SubElement(ellipse, "attribute", name="annotation_id").text = key
    tree.write(review.folder / "a.xml")
    name = image.attrib["name"]
    assert int(key) in by_id(review.files.annotations)
    assert unchanged(review, review.folder / "a.xml").notes == [
        f"2 x <ellipse> is no mask and is left out: {name}; {name}, annotation {key}"
    ]


def test_what_a_queue_had_comes_before_what_it_never_had(review, tmp_path):
    """The worst four went to CVAT, and one of them was deleted there."""
    labeled = write_queue(review.files, tmp_path / "part", worst=4)
    tree = corrected_xml(tmp_path / "part", labeled, [])
    masks = [(image, mask) for image in tree.iter("image") for mask in image.iter("mask")]
    image, mask = masks[2]
    gone = int(attribute(mask).text or "")
    image.remove(mask)
    tree.write(review.folder / "a.xml")
    sent = {int(attribute(one).text or "") for _, one in masks}
    found = unchanged(review, review.folder / "a.xml")
    assert found.absent[0] == gone
    assert not sent & set(found.absent[1:])
    assert found.unchanged == 3
