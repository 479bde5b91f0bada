"""What every parser takes without a word and no user means: counted, or refused by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mal_core.data.box_table import IN_A_CORNER
from mal_core.data.coco import parse_coco
from mal_core.data.mask_census import IGNORED, NO_PIXELS, NO_POINTS
from mal_core.data.view import read_view
from mal_core.errors import DatasetError
from mal_core.geometry.misfits import ENCLOSED, REACHING
from tests.builders import HEIGHT, WIDTH, CocoFiles, change_coco, write_coco

Content = dict[str, Any]
GROUND = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}
SLIVER = [[4.0, 9.1, 24.0, 9.1, 24.0, 9.2, 4.0, 9.2]]
TOO_SHORT = [[4, 5, 20, 16]]


@pytest.fixture
def files(tmp_path: Path) -> CocoFiles:
    return write_coco(tmp_path)


def masks(*new: object) -> Callable[[Content], object]:
    def change(content: Content) -> None:
        for entry, mask in zip(content["annotations"], new, strict=False):
            entry["segmentation"] = mask

    return change


@pytest.mark.parametrize(
    ("mask", "note", "counts_as_missing"),
    [
        (TOO_SHORT, NO_POINTS, True),
        ([[4, 5, 20, 16], [4, 5]], NO_POINTS, True),
        ([[]], NO_POINTS, True),
        ({"size": [HEIGHT, WIDTH], "counts": ""}, NO_POINTS, True),
        ({"size": [HEIGHT, WIDTH], "counts": []}, NO_POINTS, True),
        ([], None, True),
        (None, None, True),
        (GROUND, NO_PIXELS, False),
        ([[4, 5, 14, 15, 24, 21]], None, False),
        ([[4, 5, 8, 9, 12, 13]], NO_PIXELS, False),
        ([[4, 5, 4, 5, 4, 5]], NO_PIXELS, False),
        (SLIVER, NO_PIXELS, False),
        ([*SLIVER, [5, 5, 15, 5, 15, 15]], None, False),
    ],
)
def test_masks_without_points_or_pixels_are_counted(
    files: CocoFiles, mask: object, note: str | None, counts_as_missing: bool
) -> None:
    census = read_view(change_coco(files, masks(mask)).annotations).masks
    assert census.notes == ({} if note is None else {note: 1})
    assert census.problems == ()
    assert len(census.without) == counts_as_missing
    assert census.num_masks == 5 + (note is None and not counts_as_missing)


def test_large_thin_masks_are_masks(files: CocoFiles) -> None:
    cross = [[4, 5, 24, 21, 24, 5, 4, 21]]  # its halves turn against each other
    census = read_view(change_coco(files, masks(cross)).annotations).masks
    assert (census.num_masks, census.notes) == (6, {})


def test_a_file_of_masks_without_points_says_so(files: CocoFiles) -> None:
    census = read_view(change_coco(files, masks(*[TOO_SHORT] * 6)).annotations).masks
    assert (census.num_masks, census.notes) == (0, {NO_POINTS: 6})


RING = [[4, 5, 24, 5, 24, 21, 4, 21], [8, 9, 20, 9, 20, 17, 8, 17]]
WHOLE = [[0, 0, WIDTH, 0, WIDTH, HEIGHT, 0, HEIGHT]]


@pytest.mark.parametrize(
    ("mask", "note"),
    [
        (RING, ENCLOSED),
        (RING[::-1], ENCLOSED),
        ([RING[0], [30, 9, 40, 9, 40, 17]], None),
        (WHOLE, REACHING),
        ({"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * WIDTH]}, REACHING),
    ],
)
def test_masks_that_may_be_meant_otherwise_are_counted(
    files: CocoFiles, mask: object, note: str | None
) -> None:
    view = read_view(change_coco(files, masks(mask)).annotations)
    assert (view.all_problems, view.notes) == ((), {} if note is None else {note: 1})


def test_ignored_annotations_are_objects_but_in_lvis(files: CocoFiles) -> None:
    def change(content: Content) -> None:
        content["annotations"][0]["ignore"] = 1
        content["annotations"][1]["ignore"] = 0
        content["annotations"][2]["ignore"] = True

    view = read_view(change_coco(files, change).annotations)
    assert (view.num_boxes, view.masks.num_masks, view.notes) == (6, 6, {IGNORED: 2})

    def federate(content: Content) -> None:
        for image in content["images"]:
            image.update(neg_category_ids=[], not_exhaustive_category_ids=[])

    assert read_view(change_coco(files, federate).annotations).notes == {}


def divide(content: Content, count: int) -> None:
    for entry in content["annotations"][:count]:
        x, y, w, h = entry["bbox"]
        entry["bbox"] = [x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT]
        del entry["segmentation"]


def test_normalised_boxes_are_refused_in_one_sentence(files: CocoFiles) -> None:
    view = read_view(change_coco(files, lambda c: divide(c, 6)).annotations)
    assert view.problems == (
        "6 of 6 boxes have all numbers from 0 to 1 and look normalised, but COCO wants px. "
        "Multiply x and width by the width of the image, y and height by its height; YOLO's x and "
        "y are those of the centers.",
    )


def test_one_normalised_box_among_others_is_counted(files: CocoFiles) -> None:
    view = read_view(change_coco(files, lambda c: divide(c, 1)).annotations)
    assert view.problems == ()
    assert view.notes == {
        "boxes have all numbers from 0 to 1, as if they were shares of the image's size": 1
    }


def test_a_box_of_one_pixel_in_an_image_of_few_is_no_share(files: CocoFiles) -> None:
    def change(content: Content) -> None:
        for image in content["images"]:
            image.update(width=2, height=2)
        for entry in content["annotations"]:
            entry["bbox"] = [0, 0, 1, 1]

    assert read_view(change_coco(files, change).annotations, masks=False).problems == ()


def test_images_that_share_a_file_name_are_counted(files: CocoFiles) -> None:
    change_coco(files, lambda c: c["images"][2].update(file_name=c["images"][0]["file_name"]))
    (note,) = read_view(files.annotations).notes.items()
    assert note == (
        "image entries have the file_name of another: each is an image of its own, with its own "
        "boxes",
        1,
    )


@pytest.mark.parametrize("colon", [":", ": ", " : ", "\n:"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('"id"@1000,', "the object with id=1000 has the key 'id' more than once. Keep one."),
        ('"note"@"n0",', "the object with id=1000 has the key 'note' more than once. Keep one."),
        ('"x"@{"a"@1,"a"@2},', "an object has the key 'a' more than once. Keep one."),
        ('"x"@[{"a"@1,"a"@1}],', "an object has the key 'a' more than once. Keep one."),
        ('"x"@{"a"@1,"b"@[{"a"@{}}]},', None),
        ('"a\\":b"@"c\\" :d",', None),
    ],
)
def test_a_key_that_occurs_twice_is_refused(
    files: CocoFiles, text: str, said: str | None, colon: str
) -> None:
    content = json.dumps(files.content())
    start = content.index('"id": 1000')
    files.annotations.write_text(content[:start] + text.replace("@", colon) + content[start:])
    for read in (read_view, parse_coco):
        if said is None:
            read(files.annotations)
            continue
        with pytest.raises(DatasetError) as caught:
            read(files.annotations)
        assert caught.value.problems == (said,)


def boxes(write: Callable[[list[float]], list[float]], **values: Any) -> Callable[[Content], None]:
    """All boxes written in another way, and other keys."""

    def change(content: Content) -> None:
        for entry in content["annotations"]:
            entry["bbox"] = write(entry["bbox"])
            entry.update(values)

    return change


def corners(box: list[float]) -> list[float]:
    return [box[0], box[1], box[0] + box[2], box[1] + box[3]]


def center(box: list[float]) -> list[float]:
    return [box[0] + box[2] / 2, box[1] + box[3] / 2, box[2], box[3]]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (boxes(corners, segmentation=None, area=None),
         "its 6 boxes would all fit their images as [x1, y1, x2, y2], but COCO wants "
         "[x, y, width, height]. If that is what they are: Subtract x1 from x2 and y1 from y2."),
        (boxes(center, segmentation=None, area=None),
         "its 6 boxes would all fit their images as [x_center, y_center, width, height], but COCO "
         "wants [x, y, width, height]. If that is what they are: Subtract half of the width from x "
         "and half of the height from y."),
        (boxes(corners),
         "its boxes look like [x1, y1, x2, y2], but COCO wants [x, y, width, height]: with the "
         "boxes around its masks they have a mean IoU of 1.00 if read so, else of 0.61. Subtract "
         "x1 from x2 and y1 from y2."),
        (boxes(center),
         "its boxes look like [x_center, y_center, width, height], but COCO wants "
         "[x, y, width, height]: with the boxes around its masks they have a mean IoU of 1.00 if "
         "read so, else of 0.14. Subtract half of the width from x and half of the height from y."),
    ],
)  # fmt: skip
def test_boxes_that_are_written_in_another_way_are_refused(
    files: CocoFiles, change: Callable[[Content], object], problem: str
) -> None:
    assert problem in read_view(change_coco(files, change).annotations).all_problems


def test_areas_tell_how_boxes_are_written(files: CocoFiles) -> None:
    def change(content: Content) -> None:
        for entry in content["annotations"]:
            # Inside of its image either way, as small boxes near its upper left corner are.
            entry.update(bbox=[4, 5, 20, 16], area=16 * 11, segmentation=None)

    view = read_view(change_coco(files, change).annotations)
    assert view.all_problems == (
        "its boxes look like [x1, y1, x2, y2], but COCO wants [x, y, width, height]: if read so "
        "they have the `area` that all 6 of them state. Subtract x1 from x2 and y1 from y2.",
    )
    change_coco(files, lambda c: c["annotations"][0].update(area=20 * 16))
    assert read_view(files.annotations).all_problems == ()


@pytest.mark.parametrize(("num_images", "noted"), [(12, {IN_A_CORNER: 24}), (4, {})])
def test_many_boxes_in_one_corner_are_noted(
    tmp_path: Path, num_images: int, noted: dict[str, int]
) -> None:
    files = write_coco(tmp_path, num_images=num_images)

    def change(content: Content) -> None:
        for entry in content["annotations"]:
            entry.update(bbox=[1 + entry["id"] % 9, 2, 20, 16], area=None, segmentation=None)

    assert read_view(change_coco(files, change).annotations).notes == noted
