"""What fits no label is refused: one sentence with file and id, and nothing is written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mal_core.review.corrections import import_corrections
from tests.builders import HEIGHT, WIDTH
from tests.mal_core.review.reviewed import (
    MASKS,
    Review,
    annotated,
    attribute,
    by_id,
    corrected_xml,
    decisions,
    masks_in,
)

Json = dict[str, Any]


@pytest.fixture
def review(tmp_path: Path) -> Review:
    return Review(tmp_path)


def region_of(tasks: Any, key: int) -> Json:
    return next(
        region
        for task in tasks
        for region in task["annotations"][0]["result"]
        if region["id"] == f"mask_{key}"
    )


def unknown_id(region: Json) -> None:
    region["id"] = "mask_99999"


def other_size(region: Json) -> None:
    region["original_width"] = WIDTH + 1


def broken_rle(region: Json) -> None:
    region["value"]["rle"] = region["value"]["rle"][:9]


def no_bytes(region: Json) -> None:
    region["value"]["rle"] = "abc"


def empty(region: Json) -> None:
    from mal_core.formats.exports.brush_rle import mask_to_brush

    region["value"]["rle"] = mask_to_brush(np.zeros((HEIGHT, WIDTH), np.uint8))


def elsewhere(region: Json) -> None:
    from mal_core.formats.exports.brush_rle import mask_to_brush

    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[-1, -1] = 1
    region["value"]["rle"] = mask_to_brush(mask)


def other_class(region: Json) -> None:
    region["value"]["brushlabels"] = ["slab"]


def turned(region: Json) -> None:
    region["image_rotation"] = 90


def no_size(region: Json) -> None:
    del region["original_height"]


def bitmask(region: Json) -> None:
    region.update(type="bitmasklabels", value={"imageDataURL": "data:"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (unknown_id, "region mask_99999: annotation 99999 is not in the labels"),
        (other_size, "is on an image of 64 x 48 px, but here it has 65 x 48 px"),
        (broken_rle, "its rle is no mask of 64 x 48 px"),
        (no_bytes, "its rle must be a list of bytes"),
        (empty, "has a mask without a pixel"),
        (elsewhere, "lies outside its box"),
        (other_class, "is of class 'disc', but here it is 'slab'"),
        (turned, "is on a turned image"),
        (no_size, "has no original_width and original_height"),
        (bitmask, "is a bitmask, which is not read"),
    ],
)
def test_what_is_wrong_in_label_studio_is_one_sentence(change, said, review):
    key = review.ids[0]
    tasks = annotated(review.queue, review.labeled, [])
    change(region_of(tasks, key))
    message = review.refused(review.save(tasks))
    assert "1 problem\n" in message
    assert said in message
    assert change in (unknown_id,) or f"mask_{key}" in message


def test_the_empty_corner_beside_a_rotated_box_is_outside_of_it(review):
    from mal_core.formats.exports.brush_rle import mask_to_brush

    key = review.ids[0]
    content = review.files.content()
    (entry,) = (one for one in content["annotations"] if one["id"] == key)
    x, y, width, height = entry["bbox"]
    middle_x, middle_y, right, bottom = x + width / 2, y + height / 2, x + width, y + height
    entry["rotated_box"] = [middle_x, y, right, middle_y, middle_x, bottom, x, middle_y]
    review.files.annotations.write_text(json.dumps(content))
    tasks = annotated(review.queue, review.labeled, [])
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[int(y) + 1, int(x) + 1] = 1
    region_of(tasks, key)["value"]["rle"] = mask_to_brush(mask)
    assert "lies outside its box" in review.refused(review.save(tasks))


def test_tasks_that_nobody_annotated_and_other_exports_are_told_apart(review):
    assert "has predictions and no annotations" in review.refused(
        review.queue / "label_studio" / "tasks.json"
    )
    flat = review.save([{"id": 1, "image": "a.png", "mask": []}])
    assert "not JSON-MIN" in review.refused(flat)
    assert "not a COCO file" in review.refused(review.save({"nothing": []}))
    assert "is no XML that can be read" in review.refused(review.save("", "x.xml"))


XML_CHANGES: dict[str, tuple[Callable[[Any], object], str]] = {
    "unknown id": (lambda mask: setattr(attribute(mask), "text", "99999"), "is not in the labels"),
    "no number": (lambda mask: setattr(attribute(mask), "text", "x"), "which is no whole number"),
    "rle": (lambda mask: mask.set("rle", "1, 2"), "its rle adds up to 3 px"),
    "no rle": (lambda mask: mask.set("rle", "a"), "must be whole numbers of pixels"),
    "window": (lambda mask: mask.set("left", "63"), "does not lie in the image"),
    "class": (lambda mask: mask.set("label", "slab"), "is of class 'disc', but here it is 'slab'"),
}


@pytest.mark.parametrize("name", XML_CHANGES)
def test_what_is_wrong_in_cvat_is_one_sentence(name, review, tmp_path):
    change, said = XML_CHANGES[name]
    tree = corrected_xml(review.queue, review.labeled, [])
    masks = {attribute(mask).text: mask for mask in tree.iter("mask")}
    change(masks[str(review.ids[0])])
    tree.write(tmp_path / "a.xml")
    message = review.refused(tmp_path / "a.xml")
    assert "1 problem\n" in message
    assert said in message
    assert ".png" in message


def test_a_cvat_image_of_another_size_is_told(review, tmp_path):
    tree = corrected_xml(review.queue, review.labeled, [])
    next(tree.iter("image")).set("width", "65")
    tree.write(tmp_path / "a.xml")
    assert "but here it has 65 x 48 px" in review.refused(tmp_path / "a.xml")


def test_a_copy_on_another_photo_is_told(review, tmp_path):
    """CVAT's propagation copies attributes to other frames, ours included."""
    tree = corrected_xml(review.queue, review.labeled, [])
    images = list(tree.iter("image"))
    images[1].append(images[0].find("mask"))  # type: ignore[arg-type]
    tree.write(tmp_path / "a.xml")
    assert "in the labels, but on" in review.refused(tmp_path / "a.xml")


def test_tracks_of_a_video_are_refused(review, tmp_path):
    path = tmp_path / "a.xml"
    path.write_text("<annotations><track id='0'><mask frame='0'/></track></annotations>")
    assert "as 'CVAT for video' writes it" in review.refused(path)


def test_two_polygons_of_one_annotation_are_one_mask(review, tmp_path):
    key, text = review.ids[0], "<annotations>{}</annotations>"
    name = by_id(review.files.annotations)[key]
    image = next(one for one in review.files.content()["images"] if one["id"] == name["image_id"])
    x, y, w, h = (int(side) for side in name["bbox"])
    shape = (
        "<polygon label='disc' points='{0},{2};{1},{2};{1},{3};{0},{3}'>"
        f"<attribute name='annotation_id'>{key}</attribute></polygon>"
    )
    halves = [shape.format(x, x + 5, y, y + h), shape.format(x + w - 5, x + w, y, y + h)]
    path = tmp_path / "a.xml"
    inside = f"<image name='{image['file_name']}' width='{WIDTH}' height='{HEIGHT}'>"
    path.write_text(text.format(inside + "".join(halves) + "</image>"))
    import_corrections(review.files.annotations, path, tmp_path / "out.json")
    wanted = np.zeros((HEIGHT, WIDTH), np.uint8)
    wanted[y : y + h, x : x + 5] = wanted[y : y + h, x + w - 5 : x + w] = 1
    assert (masks_in(tmp_path / "out.json")[key] == wanted).all()


def test_a_coco_file_numbered_anew_is_refused(review):
    """Label Studio's COCO export counts from 0 and says nothing of our ids."""
    content = review.files.content()
    for number, entry in enumerate(content["annotations"]):
        entry["id"] = number
    said = review.refused(review.save(content))
    assert "annotation 0 is not in the labels" in said
    assert "annotation 0: annotation 0" not in said
    del content["annotations"][MASKS:]
    for number, entry in enumerate(content["annotations"]):
        entry["id"] = review.ids[-1 - number]
    assert "Are both of the same file?" in review.refused(review.save(content))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"annotation_id": 99999}, "annotation 99999 is not in the labels"),
        ({"annotation_id": None}, "it must be a whole number"),
        ({"decision": "maybe"}, "must be one of accept, reject, fix"),
        (
            {"mask": "0123456789ab"},
            "has another mask now than the one that was rejected. To keep it, set",
        ),
        ({"mask": 3}, "it must be a text"),
    ],
)
def test_wrong_decisions_are_one_sentence(change, said, review):
    content = decisions(review, {review.ids[0]: "reject"})
    content["decisions"][0].update(change)
    assert said in review.refused(review.save(content))


def test_decisions_that_contradict_each_other_are_refused(review):
    content = decisions(review, {review.ids[0]: "reject"})
    content["decisions"].append({"annotation_id": review.ids[0], "decision": "accept"})
    assert "has two decisions, reject and accept" in review.refused(review.save(content))


def test_the_queue_of_the_review_is_told_from_decisions(review):
    assert review.refused(review.queue / "queue.json").endswith(
        "is the queue of a review, the order that its page shows masks in. Give what people made "
        "of it: decisions.json, which the page saves, or the export of their tool."
    )


def test_an_id_of_two_masks_of_a_coco_file_is_refused(review):
    """They would be taken for parts of one mask."""
    content = review.files.content()
    content["annotations"] = [review_entry(review, content), review_entry(review, content)]
    assert "occurs more than once" in review.refused(review.save(content))


def review_entry(review, content: Json) -> Json:
    key = review.ids[0]
    (entry,) = [one for one in content["annotations"] if one["id"] == key][:1]
    return {**entry, "segmentation": [[1, 1, 9, 1, 9, 9]]}
