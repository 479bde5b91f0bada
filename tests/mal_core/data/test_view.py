"""The one view of a COCO file: order, keys, numbers and masks of every kind."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mal_core.config import DataConfig, SplitConfig
from mal_core.data import box_table, json_lists
from mal_core.data.coco import parse_coco
from mal_core.data.crowding import UNFEDERATED
from mal_core.data.inspection.check import check_data
from mal_core.data.validation import SHARED_NAME, ImageTable
from mal_core.data.view import CocoView, read_image_list, read_view, view_of
from mal_core.errors import DatasetError
from tests.builders import HEIGHT, WIDTH, CocoFiles, change_coco, encode, write_coco

Content = dict[str, Any]
DROP = "Correct or drop the mask."
JSON_ALLOWS = "which JSON does not allow. Correct or drop the value."


@pytest.fixture
def files(tmp_path: Path) -> CocoFiles:
    return write_coco(tmp_path, with_crowd=True)


def view(files: CocoFiles, change: Callable[[Content], object] = lambda _: None) -> CocoView:
    change_coco(files, change)
    return read_view(files.annotations)


def first(**values: Any) -> Callable[[Content], object]:
    return lambda content: content["annotations"][0].update(values)


def everywhere(content: Content, mask: object) -> None:
    for entry in content["annotations"]:
        entry["segmentation"] = mask


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (first(segmentation=[[4, 5, None, 5, 24, 21]]), f"annotation 1000 has a polygon with null "
         f"for a coordinate, which must be a finite number. {DROP}"),
        (first(segmentation=[[4, 5, 24, 5, 24]]),
         f"annotation 1000 has a polygon of 5 numbers, but points are pairs x, y. {DROP}"),
        (first(segmentation={"size": [WIDTH, HEIGHT], "counts": [WIDTH * HEIGHT]}),
         f"annotation 1000 has a mask of [64, 48] (height, width) px, but its image has [48, 64]. "
         f"{DROP}"),
        (first(segmentation={"size": [HEIGHT, WIDTH], "counts": [5, 5]}),
         "annotation 1000 has an RLE whose counts add up to 10 px, but its image of 64 x 48 px has "
         f"3072. {DROP}"),
        (first(segmentation=[[0.1, 0.1, 0.4, 0.1, 0.4, 0.5]]),
         "annotation 1000 has a mask with coordinates from 0 to 1, which are shares of the image's "
         "size; COCO wants px. Multiply x by the width and y by the height."),
        (first(segmentation=[[40, 30, 60, 30, 60, 45]]),
         "annotation 1000 has a mask from x=40 to 60 and y=30 to 45 px, which is beside its "
         "bbox=[4.0, 5.0, 20.0, 16.0]. Correct one of them or drop the annotation."),
        (first(area="12"),
         "annotation 1000 has area='12', but it must be a number of pixels. Correct or drop the "
         "value."),
        (first(area=-1),
         "annotation 1000 has area=-1, but it must be a number of pixels. Correct or drop the "
         "value."),
        (first(note=[{"deep": math.nan}]),
         f"annotation 1000 has a NaN or infinite number in note, {JSON_ALLOWS}"),
        (lambda c: c["images"][1].update(shot={"at": math.inf}),
         f"image 20 has a NaN or infinite number in shot, {JSON_ALLOWS}"),
        (lambda c: c["categories"][0].update(weight=-math.inf),
         f"category 3 has a NaN or infinite number in weight, {JSON_ALLOWS}"),
        (lambda c: c["info"].update(version=math.nan),
         f"the file has a NaN or infinite number in info, {JSON_ALLOWS}"),
        (lambda c: c.update({"a\ud800": [math.nan]}),
         f"the file has a NaN or infinite number in 'a\\ud800', {JSON_ALLOWS}"),
        (lambda c: c["images"][0].update(file_name="a\0.png"),
         "image 10 has file_name='a\\x00.png' with a NUL character. Write it without."),
        (lambda c: c["images"][0].update(file_name="a\ud800.png"),
         "image 10 has file_name='a\\ud800.png' with half of a character (a lone surrogate). Write "
         "the file as UTF-8."),
        (lambda c: c["categories"][0].update(name="di\0sc"),
         "category 3 has name='di\\x00sc' with a NUL character. Write it without."),
        (lambda c: c["categories"][0].update(name="\udfff"),
         "category 3 has name='\\udfff' with half of a character (a lone surrogate). Write the "
         "file as UTF-8."),
        (first(bbox=[0.5, 10**400, 3, 3]),
         "annotation 1000 has bbox=[0.5, 100000000000000000...0000000000000000000, 3, 3], which "
         "lies wholly outside of any image."),
        (first(id=1000.0),
         "annotation at position 0 (counted from 0) has id=1000.0, but it must be a whole number."),
        (first(id=2**70 + 0.0),
         "annotation at position 0 (counted from 0) has id=1.1805916207174113e+21, but it must be "
         "a whole number."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_sentence(
    change: Callable[[Content], object], problem: str, files: CocoFiles
) -> None:
    assert list(view(files, change).all_problems) == [problem]


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (first(segmentation=[4, 5, 24, 5, 24, 21]), {"masks are one flat polygon": 1}),
        (first(segmentation=[[4, 5, 24, 5, 24, 21], [1, 2]]),
         {"masks have parts of fewer than three points, which are left out": 1}),
        (lambda c: [entry.pop("area") for entry in c["annotations"]],
         {"annotations have no area, or 0: that of the mask is taken": 7}),
        (lambda c: c["annotations"][0].pop("iscrowd"),
         {"annotations have no iscrowd, as in LVIS: they are objects, not crowds": 1}),
        (first(iscrowd=False),
         {"annotations have true, false, 0.0 or 1.0 as iscrowd: it is taken as 0 or 1": 1}),
        (first(bbox=[4, 5, 0, 0], segmentation=[]), {"objects have neither size nor mask": 1}),
        (lambda c: c["annotations"][1].pop("segmentation"),
         {"crowds have no mask: their boxes stand for them": 1}),
        (lambda c: [c["annotations"][2].pop(key) for key in ("segmentation", "area")], {}),
        (lambda c: [entry.pop("segmentation") for entry in c["annotations"]], {}),
    ],
)  # fmt: skip
def test_what_is_unusual_and_sound_is_counted(
    change: Callable[[Content], object], note: dict[str, int], files: CocoFiles
) -> None:
    found = view(files, change)
    assert found.all_problems == ()
    assert found.masks.unusual == note


def test_masks_of_other_places_are_noticed_as_a_whole(files: CocoFiles) -> None:
    """Each of these touches its box; together they cannot be the masks of these boxes."""
    corner = {3: [[4, 4, 6, 4, 6, 7, 4, 7]], 90: [[34, 9, 36, 9, 36, 12, 34, 12]]}

    def change(content: Content) -> None:
        for entry in content["annotations"]:
            entry["segmentation"] = corner[entry["category_id"]]

    (problem,) = view(files, change).all_problems
    assert problem.startswith("its masks are not where its boxes are: the boxes around them have")


def test_lists_in_any_order_give_the_same_view(files: CocoFiles) -> None:
    expected, content = read_view(files.annotations), files.content()
    for keys in (sorted(content), sorted(content, reverse=True)):
        files.rewrite({key: content[key] for key in keys})
        found = read_view(files.annotations)
        assert found.dataset(files.images) == expected.dataset(files.images)
        assert found.masks == expected.masks


def test_small_pieces_and_parsed_content_give_the_same_view(
    files: CocoFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = read_view(files.annotations)
    monkeypatch.setattr(json_lists, "WINDOW_BYTES", 300)
    for found in (
        read_view(files.annotations),
        view_of(files.annotations, parse_coco(files.annotations)),
    ):
        assert found.dataset(files.images) == expected.dataset(files.images)
        assert (found.masks, found.all_problems) == (expected.masks, ())


@pytest.mark.parametrize("strict", [False, True])
def test_entries_one_by_one_and_all_at_once_have_the_same_verdict(
    strict: bool, files: CocoFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    odd = [0, -1, -3, 0.5, 63, 64, 1e-7, WIDTH, HEIGHT + 2, HEIGHT + 2.1, None, math.nan, "1", True]
    content = files.content()
    for number in range(400):
        entry = json.loads(json.dumps(content["annotations"][int(rng.integers(7))]))
        entry["id"] = 10_000 + number
        if number % 3 == 0:
            entry["bbox"][int(rng.integers(4))] = odd[int(rng.integers(len(odd)))]
        if number % 50 == 0:
            entry[["image_id", "category_id", "id"][number // 50 % 3]] = [3, 10, 1000, "x"][
                int(rng.integers(4))
            ]
        content["annotations"].append(entry)
    files.rewrite(content)
    monkeypatch.setattr(json_lists, "WINDOW_BYTES", 1200)
    quick = read_view(files.annotations, strict=strict)
    monkeypatch.setattr(box_table.BoxTable, "add_sound", lambda *_: None)
    slow = read_view(files.annotations, strict=strict)
    assert quick.all_problems == slow.all_problems
    assert quick.dataset(files.images) == slow.dataset(files.images)
    assert quick.masks == slow.masks


@pytest.mark.parametrize("odd", ["12", "x", None, True, [4], {}, math.nan, 10**400, -900, 2.5])
def test_masks_one_by_one_and_all_at_once_have_the_same_verdict(
    odd: object, files: CocoFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (0, 3, None):

        def change(content: Content, place: int | None = place) -> None:
            polygon = content["annotations"][0]["segmentation"][0]
            if place is None:
                content["annotations"][0]["segmentation"].append(odd)
            else:
                polygon[place] = odd

        before = files.content()
        everywhere(before, [[4, 5, 24, 5, 24, 21]])
        files.rewrite(before)
        with monkeypatch.context() as patch:
            quick = view(files, change)
            patch.setattr(box_table.BoxTable, "add_sound", lambda *_: None)
            slow = read_view(files.annotations)
        assert quick.all_problems == slow.all_problems
        assert quick.masks == slow.masks
        assert slow.all_problems or odd == 2.5
        files.rewrite(before)


def _image_names() -> list[object]:
    plain = ["a.png", "b/c.png", "b\\c.png", "a..b.png", "ä.png", "x\ny.png"]
    return [*plain, "", "/a.png", "../a.png", "b/../a", "a\0.png", "a\ud800", 3, None]


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("file_name", _image_names()),
        ("id", [7, -7, 0, 10, 20, True, 7.0, "7", None, 2**70, 2**70 + 0.0]),
        ("width", [WIDTH, 1, 0, -1, 64.0, "64", True, None, 2**63, 2**70]),
        ("height", [HEIGHT, 1, 0, -1, math.nan]),
        ("extra", [None, "x", {"id": 1}, [math.inf]]),
    ],
)
def test_images_one_by_one_and_all_at_once_have_the_same_verdict(
    key: str, values: list[object], files: CocoFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files.content()
    for value in values:
        for place in (0, -1):
            content = json.loads(json.dumps(before))
            content["images"][place][key] = value
            files.rewrite(content)
            quick = read_view(files.annotations)
            with monkeypatch.context() as patch:
                patch.setattr(ImageTable, "add_sound", lambda *_: False)
                slow = read_view(files.annotations)
            assert quick.all_problems == slow.all_problems
            assert (quick.images, quick.notes) == (slow.images, slow.notes)


def test_images_that_share_a_file_are_counted(files: CocoFiles) -> None:
    found = view(files, lambda c: c["images"][1].update(file_name=c["images"][0]["file_name"]))
    assert found.entry_notes[SHARED_NAME] == 1


def test_keys_of_the_user_mean_nothing(files: CocoFiles) -> None:
    plain = view(files)

    def change(content: Content) -> None:
        for image in content["images"]:
            image.update(image_id=image["id"], segmentation=[[1, 2]], origin="camera 3", bbox="x")
        for entry in content["annotations"]:
            entry.update(origin="tool", attributes={"image_id": 5, "segmentation": [9]})
        content["extra"] = [{"image_id": 1}, {"segmentation": None}]

    found = view(files, change)
    assert found.masks == plain.masks
    assert found.all_problems == ()
    kept = parse_coco(files.annotations)
    assert kept == files.content()
    problem = view(files, lambda c: c["annotations"][0].update(category_id=4)).problems[0]
    assert problem.startswith("annotation 1000 ")


def test_a_file_is_refused_for_its_masks_by_the_check_of_both_splits(
    files: CocoFiles, tmp_path: Path
) -> None:
    val = write_coco(tmp_path, name="val")
    half = encode(np.zeros((HEIGHT // 2, WIDTH // 2), np.uint8))
    for broken, sound in ((files, val), (val, files)):
        before = broken.content()
        change_coco(broken, lambda c: everywhere(c, half))
        splits = [SplitConfig(images=f.images, annotations=f.annotations) for f in (files, val)]
        data = DataConfig(train=splits[0], val=splits[1])
        with pytest.raises(DatasetError, match=r"has a mask of \[24, 32\]") as caught:
            check_data(data, need_val=True, decode=False)
        assert str(sound.annotations) not in str(caught.value)
        broken.rewrite(before)


def test_a_pipe_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DatasetError, match="no regular file"):
        read_view(tmp_path / "pipe")


@pytest.mark.parametrize("annotations", [None, [], ["anything"]])
def test_a_list_of_images_needs_no_annotations(files: CocoFiles, annotations: object) -> None:
    whole = read_view(files.annotations)
    change_coco(files, lambda content: content.update(annotations=annotations))
    if annotations is None:
        change_coco(files, lambda content: content.pop("annotations"))
    listed = read_image_list(files.annotations)
    assert (listed.images, listed.categories) == (whole.images, whole.categories)
    parsed = parse_coco(files.annotations, needed=("images", "categories"))
    assert parsed["annotations"] == (annotations or [])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda content: content.pop("images"), "the list 'images' is missing"),
        (lambda content: content.update(categories={}), "'categories' is a dict"),
        (lambda content: content["images"][0].pop("file_name"), "has no 'file_name'"),
        (lambda content: content["categories"][0].update(name=3), "has name=3"),
    ],
)
def test_what_is_wrong_with_a_list_of_images_is_named(
    files: CocoFiles, change: Callable[[Content], object], problem: str
) -> None:
    change_coco(files, change)
    with pytest.raises(DatasetError, match=problem):
        read_image_list(files.annotations)


def federated(*places: int) -> Callable[[Content], object]:
    fields: Content = {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    return lambda content: [content["images"][place].update(fields) for place in places]


@pytest.mark.parametrize(
    ("change", "lacking"),
    [
        (federated(0), 2),
        (lambda c: c["categories"][0].update(frequency="r"), 3),
        (lambda c: c["categories"][0].update(frequency=2.4e9), 0),
        (federated(0, 1, 2), 0),
        (federated(), 0),
    ],
)
def test_images_that_a_copy_of_lvis_has_stripped_are_counted(
    change: Callable[[Content], object], lacking: int, files: CocoFiles
) -> None:
    found = view(files, change)
    assert found.entry_notes.get(UNFEDERATED, 0) == lacking
    assert view_of(files.annotations, files.content()).entry_notes == found.entry_notes


def test_a_name_that_no_file_system_takes_is_refused(files: CocoFiles) -> None:
    name = "a/" * 200 + "b" * 256
    (problem,) = view(files, lambda c: c["images"][0].update(file_name=name)).problems
    assert problem.endswith(
        "with a name of 256 bytes, which no file system takes. Correct it or drop the image."
    )
    assert view(files, lambda c: c["images"][0].update(file_name=name[:-1])).problems == ()
