"""A repaired file passes the check, changes nothing that was right, and tells every change."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mal_core.data.coco import parse_coco
from mal_core.data.inspection.mask_repair import repaired_mask
from mal_core.data.inspection.repair import repair, same_classes
from mal_core.data.inspection.size_repair import with_sizes
from mal_core.data.view import read_view
from mal_core.geometry.box_forms import CENTERS, CORNERS, XYWH
from tests.builders import CocoFiles, write_coco

Content = dict[str, Any]


@pytest.fixture
def files(tmp_path: Path) -> CocoFiles:
    return write_coco(tmp_path, with_crowd=True)


def set_box(*box: float) -> Callable[[Content], object]:
    return lambda c: c["annotations"][0].update(bbox=list(box))


def set_mask(mask: object) -> Callable[[Content], object]:
    return lambda c: c["annotations"][0].update(segmentation=mask)


SQUARE = [4.0, 5.0, 24.0, 5.0, 24.0, 21.0, 4.0, 21.0]
BROKEN: dict[str, tuple[Callable[[Content], object], dict[str, int]]] = {
    "a box out of its image": (set_box(400, 400, 5, 5), {"corrected": 1}),
    "a box over the border": (set_box(50, 30, 20, 20), {"corrected": 2}),
    "a box mostly over the border": (set_box(50, 30, 60, 60), {"corrected": 1}),
    "a box of NaN": (set_box(math.nan, 1, 2, 3), {"corrected": 1}),
    "a box of text": (lambda c: c["annotations"][0].update(bbox="1,2,3,4"), {"corrected": 1}),
    "no box and no mask": (
        lambda c: [c["annotations"][0].pop(key) for key in ("bbox", "segmentation")],
        {"dropped": 1},
    ),
    "an unknown class": (lambda c: c["annotations"][0].update(category_id=77), {"dropped": 1}),
    "an unknown image": (lambda c: c["annotations"][0].update(image_id=77), {"dropped": 1}),
    "an id twice": (
        lambda c: c["annotations"][0].update(id=c["annotations"][1]["id"]),
        {"renumbered": 1},
    ),
    "no id": (lambda c: c["annotations"][0].pop("id"), {"renumbered": 1}),
    "an entry that is none": (lambda c: c["annotations"].append(3), {"dropped": 1}),
    "a mask of another size": (
        set_mask({"size": [5, 5], "counts": [25]}),
        {"corrected": 1},
    ),
    "a mask of points": (
        set_mask([[4, 5], [24, 5], [24, 21], [4, 21]]),
        {"corrected": 1},
    ),
    "a mask elsewhere": (set_mask([[50, 40, 60, 40, 60, 46]]), {"corrected": 1}),
    "NaN in a key of the user": (
        lambda c: c["annotations"][0].update(note=math.nan),
        {"corrected": 1},
    ),
    "NaN beside the lists": (lambda c: c.update(info={"a": math.inf}), {"dropped": 1}),
    "a wrong crowd flag": (lambda c: c["annotations"][0].update(iscrowd=5), {"corrected": 1}),
    "a wrong area": (lambda c: c["annotations"][0].update(area="big"), {"corrected": 1}),
    "two classes of one name": (
        lambda c: c["categories"].append({"id": 5, "name": " disc "}),
        {"merged": 1},
    ),
    "a class of an empty name": (
        lambda c: c["categories"].append({"id": 5, "name": " "}),
        {"corrected": 1},
    ),
    "a class without a name": (lambda c: c["categories"].append({"id": 5}), {"corrected": 1}),
    "a class that is a number": (
        lambda c: c["categories"].append({"id": 5, "name": 7}),
        {"corrected": 1},
    ),
    "two images of one id": (
        lambda c: c["images"].append({**c["images"][0], "file_name": "other.png"}),
        {"dropped": 5},  # both, two boxes and a crowd
    ),
    "RLE in a list": (set_mask([{"size": [48, 64], "counts": [3072]}]), {"corrected": 1}),
    "an image twice": (lambda c: c["images"].append(dict(c["images"][0])), {"dropped": 1}),
    "a name out of the folder": (
        lambda c: c["images"][0].update(file_name="../x.png"),
        {"dropped": 4},
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_repaired_file_passes_the_check(name: str, files: CocoFiles) -> None:
    change, counts = BROKEN[name]
    content = files.content()
    change(content)
    files.rewrite(content)
    assert read_view(files.annotations).all_problems
    found = repair(parse_coco(files.annotations), {}, need_masks=False)
    assert found.counts() == counts
    files.rewrite(json.loads(json.dumps(found.content, allow_nan=False)))
    assert read_view(files.annotations).all_problems == ()


def test_boxes_of_two_images_of_one_id_are_nobodys(files: CocoFiles) -> None:
    content = files.content()
    content["images"][1]["id"] = 10
    for entry in content["annotations"]:
        entry["image_id"] = max(10, entry["image_id"] - 10 * (entry["image_id"] == 20))
    found = repair(content, {}, need_masks=False)
    assert [image["id"] for image in found.content["images"]] == [30]
    assert {entry["image_id"] for entry in found.content["annotations"]} == {30}
    assert [(one.entry, one.why) for one in found.changes][:2] == [
        (
            "image 10",
            "its id is that of 'train/0.png' and 'train/1.png': whose boxes these are nobody can "
            "tell",
        )
    ] * 2


@pytest.mark.parametrize(
    ("given", "name", "why"),
    [
        ({"name": 7}, "7", "has name=7; is '7' now"),
        ({"name": 1.5}, "1.5", "has name=1.5; is '1.5' now"),
        ({"name": None}, "class 5", "has no name; is 'class 5' now"),
        ({"name": "  "}, "class 5", "has name='  '; is 'class 5' now"),
        ({}, "class 5", "has no name; is 'class 5' now"),
    ],
)
def test_a_class_keeps_its_objects_whatever_its_name(
    given: Content, name: str, why: str, files: CocoFiles
) -> None:
    content = files.content()
    content["categories"].append({"id": 5, **given})
    content["annotations"][0]["category_id"] = 5
    found = repair(content, {}, need_masks=False)
    assert [one["name"] for one in found.content["categories"]] == ["disc", "slab", name]
    assert found.content["annotations"][0]["category_id"] == 5
    assert [(one.entry, one.why) for one in found.changes] == [("category 5", why)]


def test_what_is_right_stays_as_it_is(files: CocoFiles) -> None:
    content = files.content()
    before = copy.deepcopy(content)
    found = repair(content, {}, need_masks=True)
    assert found.changes == ()
    assert found.content == before == content


def test_an_unusable_image_goes_with_its_boxes_and_each_is_told(files: CocoFiles) -> None:
    found = repair(files.content(), {10: "'0.png' is missing"}, need_masks=False)
    assert found.counts() == {"dropped": 4}  # the image, its two boxes, its crowd
    assert all(change.why for change in found.changes)
    assert {entry["image_id"] for entry in found.content["annotations"]} == {20, 30}


def test_an_object_that_cannot_be_scored_becomes_a_crowd(files: CocoFiles) -> None:
    content = files.content()
    set_mask([[1, 2]])(content)
    found = repair(content, {}, need_masks=True)
    assert found.content["annotations"][0]["iscrowd"] == 1
    assert found.counts() == {"corrected": 1}


def test_boxes_in_shares_of_the_size_are_scaled(files: CocoFiles) -> None:
    content = files.content()
    pixels = [list(entry["bbox"]) for entry in content["annotations"]]
    for entry in content["annotations"]:
        x, y, w, h = entry["bbox"]
        entry["bbox"] = [x / 64, y / 48, w / 64, h / 48]
    found = repair(content, {}, need_masks=False)
    for entry, box in zip(found.content["annotations"], pixels, strict=True):
        assert entry["bbox"] == pytest.approx(box)


@pytest.mark.parametrize("form", [CORNERS, CENTERS])
def test_boxes_of_another_form_are_written_as_coco_has_them(form: str, files: CocoFiles) -> None:
    content = files.content()
    boxes = [entry["bbox"] for entry in content["annotations"]]
    for entry in content["annotations"]:
        x, y, w, h = entry["bbox"]
        other = [x, y, x + w, y + h] if form == CORNERS else [x + w / 2, y + h / 2, w, h]
        entry.update(bbox=other, segmentation=None)
    found = repair(content, {}, need_masks=False)
    assert [entry["bbox"] for entry in found.content["annotations"]] == boxes
    shown = list(map(float, boxes[0]))
    assert found.changes[0].why == f"all boxes fit as {form}: bbox={shown}"


LARGE = [[0, 0, 60, 46], [2, 1, 58, 44], [4, 3, 50, 42], [3, 2, 55, 40], [1, 2, 61, 45]]


def large(content: dict[str, Any], *, masks: bool | None) -> None:
    """Boxes that fit their images of 64 x 48 px as corners, too, all but the first in [x, y, w, h].

    The first reaches 4 px over the border.
    """
    first = content["annotations"][0]
    content["annotations"] = []
    for number, (x, y, w, h) in enumerate(([8, 2, 60, 44], *LARGE), start=1):
        outline = [x, y, min(x + w, 64), y, min(x + w, 64), y + h, x, y + h]
        mask = [outline] if masks else None
        area = w * h if masks is None else 0
        content["annotations"].append(
            {**first, "id": number, "bbox": [x, y, w, h], "segmentation": mask, "area": area}
        )


@pytest.mark.parametrize("masks", [True, None], ids=["masks", "areas"])
def test_one_box_over_the_border_is_clipped_where_masks_or_areas_say_what_boxes_are(
    masks: bool | None, files: CocoFiles
) -> None:
    content = files.content()
    large(content, masks=masks)
    found = repair(content, {}, need_masks=False).content["annotations"]
    assert [entry["bbox"] for entry in found] == [[8, 2, 56, 44], *LARGE]


def test_where_nothing_says_what_boxes_are_they_stay_for_the_user_to_say(files: CocoFiles) -> None:
    content = files.content()
    large(content, masks=False)
    found = repair(content, {}, need_masks=False).content["annotations"]
    assert [entry["bbox"] for entry in found] == [[8, 2, 60, 44], *LARGE]


@pytest.mark.parametrize("form", [CORNERS, CENTERS])
def test_shares_of_another_form_are_told_from_those_of_ours(form: str, files: CocoFiles) -> None:
    content = files.content()
    content["annotations"] = [ann for ann in content["annotations"] if not ann["iscrowd"]]
    boxes = [list(entry["bbox"]) for entry in content["annotations"]]
    for entry in content["annotations"]:
        x, y, w, h = entry["bbox"]
        a, b, c, d = [x, y, x + w, y + h] if form == CORNERS else [x + w / 2, y + h / 2, w, h]
        entry.update(bbox=[a / 64, b / 48, c / 64, d / 48], segmentation=None)
    found = repair(content, {}, need_masks=False)
    for entry, box in zip(found.content["annotations"], boxes, strict=True):
        assert entry["bbox"] == pytest.approx(box)


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ([[4, 5], [24, 5], [24, 21], [4, 21]], "list of points"),
        ([[[4, 5], [24, 5], [24, 21], [4, 21]]], "Flatten it"),
        ([[x / side for x, side in zip(SQUARE, (64, 48) * 4, strict=True)]], "shares"),
    ],
)
def test_a_mask_with_one_meaning_is_written_as_it_should_be(written: Any, problem: str) -> None:
    mask, seen = repaired_mask(written, (64, 48))
    assert problem in str(seen)
    assert mask[0] == pytest.approx(SQUARE)


def test_counts_that_are_the_text_of_bytes_are_read() -> None:
    good = {"size": [2, 3], "counts": "06"}
    mask, problem = repaired_mask({"size": [2, 3], "counts": "b'06'"}, (3, 2))
    assert mask == good
    assert "text of Python bytes" in str(problem)


def test_a_stated_size_is_taken_from_the_file() -> None:
    notes: list[str] = []
    entries: list[Content] = [
        {"id": 1, "file_name": "a.png"},
        {"id": 2, "file_name": "b.png", "width": 3},
        {"id": 3, "file_name": "c.png", "width": 0, "height": 0},
    ]
    sizes = {"a.png": (5, 6), "c.png": (7, 8)}
    content = {"images": entries, "annotations": []}
    found = with_sizes(content, sizes.get, lambda *told: notes.append(told[1]))
    assert found[0] == {"id": 1, "file_name": "a.png", "width": 5, "height": 6}
    assert (found[1], notes) == (entries[1], ["image 1", "image 3"])
    assert (found[2]["width"], found[2]["height"]) == (7, 8)


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ([10, 40, 20, 20], (48, 64)),  # in the photo as it is
        ([40, 10, 20, 20], (64, 48)),  # drawn before the photo was turned
        ([10, 10, 20, 20], (48, 64)),
    ],
)
def test_exchanged_sides_are_those_of_the_file_where_the_boxes_lie_in_it(box, size) -> None:
    notes: list[str] = []
    image = {"id": 1, "file_name": "a.png", "width": 64, "height": 48}
    content = {"images": [image], "annotations": [{"image_id": 1, "bbox": box}]}
    (found,) = with_sizes(content, {"a.png": (48, 64)}.get, lambda *told: notes.append(told[2]))
    assert (found["width"], found["height"]) == size
    said = ["has width and height exchanged: 48 x 64"] if found != image else []
    assert notes == said


def test_a_photo_of_another_size_keeps_what_its_entry_says() -> None:
    image = {"id": 1, "file_name": "a.png", "width": 64, "height": 48}
    content = {"images": [image], "annotations": []}
    assert with_sizes(content, {"a.png": (50, 64)}.get, print) == [image]


def test_classes_get_the_numbers_of_the_training_file_by_name() -> None:
    train = {"categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}], "annotations": []}
    val = {
        "categories": [{"id": 2, "name": "cat"}, {"id": 7, "name": "cow"}],
        "annotations": [{"category_id": 2}, {"category_id": 7}],
    }
    told: list[tuple[str, str, str]] = []
    new_train, new_val = same_classes(train, val, lambda *one: told.append(one))
    assert new_train["categories"] == new_val["categories"]
    names = {one["id"]: one["name"] for one in new_val["categories"]}
    assert [names[one["category_id"]] for one in new_val["annotations"]] == ["cat", "cow"]
    assert {one[0] for one in told} == {"corrected", "renumbered"}


@pytest.mark.parametrize("box", [[50, 5, 40, 16], [-30, 5, 40, 16], [60, 44, 20, 20]])
def test_a_box_mostly_outside_its_image_is_no_overhang(box: list[int], files: CocoFiles) -> None:
    """Less than half of it is inside: its mask tells it, or it goes."""
    content = files.content()
    told = content["annotations"][0]["bbox"]
    content["annotations"][0]["bbox"] = box
    found = repair(content, {}, need_masks=False)
    assert found.content["annotations"][0]["bbox"] == pytest.approx(told, abs=1)
    assert found.changes[0].why.startswith(f"has bbox={box}, which reaches ")
    assert "Its mask tells it: bbox=" in found.changes[0].why
    del content["annotations"][0]["segmentation"]
    found = repair(content, {}, need_masks=False)
    assert found.counts() == {"dropped": 1}
    assert found.changes[0].why.startswith(f"has bbox={box}, which reaches ")


MASKED = [10.0, 20.0, 30.0, 16.0]
SHARES = " in shares of the image's size"
OTHER_FORMS = {
    CORNERS: [10.0, 20.0, 40.0, 36.0],
    CENTERS: [25.0, 28.0, 30.0, 16.0],
    f"{XYWH}{SHARES}": [10 / 64, 20 / 48, 30 / 64, 16 / 48],
    f"{CORNERS}{SHARES}": [10 / 64, 20 / 48, 40 / 64, 36 / 48],
    None: [50.0, 2.0, 10.0, 6.0],
}


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_one_box_of_another_form_is_taken_from_its_sound_mask(
    form: str | None, files: CocoFiles
) -> None:
    box = OTHER_FORMS[form]
    content = json.loads(files.annotations.read_text())
    mask = [[10.0, 20.0, 40.0, 20.0, 40.0, 36.0, 10.0, 36.0]]
    broken = content["annotations"][0]
    broken.update(bbox=box, segmentation=mask, area=480.0)
    repaired = repair(content, {}, need_masks=False)
    entry = repaired.content["annotations"][0]
    assert (entry["bbox"], entry["segmentation"], entry["area"]) == (MASKED, mask, 480.0)
    assert repaired.content["annotations"][1:] == content["annotations"][1:]
    (change,) = repaired.changes
    assert change.what == "corrected"
    assert change.entry == f"annotation {broken['id']}"
    why = "its bbox is beside its mask"
    why = why if form is None else f"has bbox={box}, which its mask fits as {form}"
    assert change.why == f"{why}. Its mask tells it: bbox={MASKED}"


def test_a_loose_box_around_its_mask_stays(files: CocoFiles) -> None:
    content = json.loads(files.annotations.read_text())
    mask = [[10.0, 20.0, 40.0, 20.0, 40.0, 36.0, 10.0, 36.0]]
    content["annotations"][0].update(bbox=[4.0, 12.0, 50.0, 30.0], segmentation=mask)
    assert repair(content, {}, need_masks=False).changes == ()


def test_a_box_that_is_no_list_is_told_as_what_it_is(files: CocoFiles) -> None:
    content = files.content()
    entry = content["annotations"][0]
    entry.update(bbox={"x": 1, "y": 2, "width": 3, "height": 4}, segmentation=None)
    found = repair(content, {}, need_masks=False)
    assert [(change.what, change.why) for change in found.changes] == [
        (
            "dropped",
            "has bbox={'height': 4, 'width': 3, 'x': 1, 'y': 2}, but it must be a list "
            "[x, y, width, height] in px.",
        )
    ]


def test_a_word_for_a_crowd_flag_is_no_guess(files: CocoFiles) -> None:
    content = files.content()
    content["annotations"][0]["iscrowd"] = "no"
    found = repair(content, {}, need_masks=False)
    assert found.counts() == {"dropped": 1}
    assert found.changes[0].why == "has iscrowd='no', which may mean either"
