"""Numbers as text, and ids that are names, are read as the one thing that they can mean."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mal_core.data.coco import parse_coco
from mal_core.data.inspection.number_repair import number_of, with_numbers
from mal_core.data.inspection.repair import repair
from mal_core.data.view import read_view
from tests.builders import CocoFiles, write_coco

Content = dict[str, Any]
Change = Callable[[Content], object]


@pytest.fixture
def files(tmp_path: Path) -> CocoFiles:
    return write_coco(tmp_path, with_crowd=True)


def texts(content: Content, turn: Callable[[int], object] = str) -> None:
    """Every number of the file as something else."""
    for entry in content["images"]:
        entry.update({key: turn(entry[key]) for key in ("id", "width", "height")})
    for entry in content["categories"]:
        entry["id"] = turn(entry["id"])
    for entry in content["annotations"]:
        entry.update(
            {key: turn(entry[key]) for key in ("id", "image_id", "category_id", "iscrowd", "area")}
        )
        entry["bbox"] = [turn(value) for value in entry["bbox"]]


def repaired(files: CocoFiles, change: Change) -> tuple[Content, list[tuple[str, str, str]]]:
    """What a repair makes of a changed file, which the check refuses, and what it tells."""
    content = files.content()
    change(content)
    files.rewrite(content)
    assert read_view(files.annotations).all_problems
    told: list[tuple[str, str, str]] = []
    found = with_numbers(parse_coco(files.annotations), lambda *one: told.append(one))
    mended = repair(found, {}, need_masks=False)
    told += [(change.what, change.entry, change.why) for change in mended.changes]
    files.rewrite(json.loads(json.dumps(mended.content, allow_nan=False)))
    assert read_view(files.annotations).all_problems == ()
    return mended.content, told


@pytest.mark.parametrize("turn", [str, float, lambda value: f" {float(value)} "])
def test_a_file_of_texts_or_floats_is_the_file_that_it_was(
    turn: Callable[[int], object], files: CocoFiles
) -> None:
    before = files.content()
    found, told = repaired(files, lambda content: texts(content, turn))
    assert found == before
    assert len(told) == sum(len(before[key]) for key in ("images", "categories", "annotations"))
    assert {one[0] for one in told} == {"corrected"}


def test_what_was_read_is_told(files: CocoFiles) -> None:
    def change(content: Content) -> None:
        content["annotations"][0]["bbox"] = ["4", 5, "20.5", 16]

    found, told = repaired(files, change)
    assert found["annotations"][0]["bbox"] == [4, 5, 20.5, 16]
    assert told == [
        (
            "corrected",
            "annotation 1000",
            "numbers that are none: bbox=['4', 5, '20.5', 16] is [4, 5, 20.5, 16]",
        )
    ]


def test_ids_that_are_names_get_numbers_and_references_follow(files: CocoFiles) -> None:
    names = {10: "img_a", 20: "007", 30: "img_c"}

    def change(content: Content) -> None:
        for entry in content["images"]:
            entry["id"] = names[entry["id"]]
        for entry in content["annotations"]:
            entry["image_id"] = names[entry["image_id"]]

    before = files.content()
    found, _ = repaired(files, change)
    own = {entry["file_name"]: entry["id"] for entry in found["images"]}
    assert sorted(own.values()) == [1, 7, 8]
    file_of = {entry["id"]: entry["file_name"] for entry in before["images"]}
    assert [entry["image_id"] for entry in found["annotations"]] == [
        own[file_of[entry["image_id"]]] for entry in before["annotations"]
    ]


def test_a_text_whose_number_is_taken_gets_another(files: CocoFiles) -> None:
    """Image 10 and image "10" are two images, each with its own boxes."""

    def change(content: Content) -> None:
        content["images"][1]["id"] = "10"
        for entry in content["annotations"]:
            if entry["image_id"] == 20:
                entry["image_id"] = "10"

    before = files.content()
    found, _ = repaired(files, change)
    assert [entry["id"] for entry in found["images"]] == [10, 31, 30]
    wanted = [entry["image_id"] for entry in before["annotations"]]
    assert [entry["image_id"] for entry in found["annotations"]] == [
        31 if image == 20 else image for image in wanted
    ]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("104", 104),
        (" 1e2 ", 100),
        ("-3.5", -3.5),
        (2.0, 2),
        ("1_000", "1_000"),
        ("", ""),
        ("wide", "wide"),
        (True, True),
        (None, None),
    ],
)
def test_only_what_is_a_number_is_read_as_one(value: object, wanted: object) -> None:
    found = number_of(value)
    assert (found, type(found)) == (wanted, type(wanted))


def test_counts_of_a_mask_that_look_like_a_number_stay_text(files: CocoFiles) -> None:
    content = files.content()
    content["annotations"][0]["segmentation"] = {"size": ["48", 64], "counts": "06"}
    found = with_numbers(content, lambda *_: None)
    assert found["annotations"][0]["segmentation"] == {"size": [48, 64], "counts": "06"}


def test_images_and_classes_that_are_referred_to_by_name(files: CocoFiles) -> None:
    content = files.content()
    wanted = [(entry["image_id"], entry["category_id"]) for entry in content["annotations"]]
    name_of = {entry["id"]: entry["file_name"] for entry in content["images"]}
    for place, entry in enumerate(content["annotations"]):
        name = name_of[entry["image_id"]]
        entry["image_id"] = name if place % 2 else Path(name).name
        entry["category_id"] = {3: "disc", 90: " slab"}[entry["category_id"]].strip()
    for image in content["images"]:  # a stem that is a number would be an id
        image["file_name"] = image["file_name"].replace("/", "/photo")
    for entry in content["annotations"]:
        folder, _, name = entry["image_id"].rpartition("/")
        entry["image_id"] = f"{folder}/photo{name}" if folder else f"photo{Path(name).stem}"
    found = with_numbers(content, lambda *_: None)
    assert [(one["image_id"], one["category_id"]) for one in found["annotations"]] == wanted


def test_a_name_that_two_images_share_is_no_reference(files: CocoFiles) -> None:
    content = files.content()
    content["images"][0]["file_name"], content["images"][1]["file_name"] = "a/x.png", "b/x.png"
    content["annotations"][0]["image_id"] = "x"
    content["annotations"][1]["image_id"] = "b/x.png"
    found = with_numbers(content, lambda *_: None)
    assert [one["image_id"] for one in found["annotations"][:2]] == ["x", 20]
