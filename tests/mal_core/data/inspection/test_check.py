"""Both splits together: every problem in one message, and whether they fit each other."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mal_core.config import DataConfig, SplitConfig
from mal_core.data.inspection.check import CheckedData, check_data
from mal_core.data.view import read_view
from mal_core.errors import DatasetError
from tests.builders import CocoFiles, without_masks, write_coco

Content = dict[str, Any]


def check(
    train: CocoFiles, val: CocoFiles, *, need_val: bool = True, strict: bool = False
) -> CheckedData:
    splits = [SplitConfig(images=f.images, annotations=f.annotations) for f in (train, val)]
    data = DataConfig(train=splits[0], val=splits[1], strict=strict)
    return check_data(data, need_val=need_val, decode=True)


@pytest.fixture
def train(tmp_path: Path) -> CocoFiles:
    return write_coco(tmp_path, name="train", with_crowd=True)


@pytest.fixture
def val(tmp_path: Path) -> CocoFiles:
    return write_coco(tmp_path, name="val", num_images=2)


def change(files: CocoFiles, how: Callable[[Content], object]) -> CocoFiles:
    content = files.content()
    how(content)
    files.rewrite(content)
    return files


def test_a_good_input_is_summed_up(train: CocoFiles, val: CocoFiles) -> None:
    checked = check(train, val)
    assert checked.train.dataset(train.images) == train.read()
    assert checked.val is not None
    assert checked.val.dataset(val.images) == val.read()
    assert (checked.has_train_masks, checked.val.masks.complete) == (True, True)
    first, second = checked.summary()
    assert "7 annotations = 6 boxes + 1 crowds + 0 of zero size" in first
    assert "4 annotations = 4 boxes" in second


def test_boxes_without_masks_are_enough_for_training(
    train: CocoFiles, val: CocoFiles, tmp_path: Path
) -> None:
    checked = check(without_masks(train, tmp_path / "boxes.json"), val)
    assert (checked.has_train_masks, checked.val.masks.complete) == (False, True)
    assert "0 human masks" in checked.summary()[0]


def test_validation_without_masks_is_refused_with_the_way_out(
    train: CocoFiles, val: CocoFiles, tmp_path: Path
) -> None:
    boxes = without_masks(val, tmp_path / "boxes.json")
    with pytest.raises(DatasetError, match=r"no annotation has a mask.*mal label") as caught:
        check(train, boxes)
    assert caught.value.path == boxes.annotations


def test_a_single_missing_validation_mask_is_named(train: CocoFiles, val: CocoFiles) -> None:
    change(val, lambda c: c["annotations"][1].update(segmentation=[]))
    with pytest.raises(DatasetError, match=r"1 annotations have no usable.*: 1001\."):
        check(train, val)


def _only_a_broken_mask(content: Content) -> None:
    content["annotations"][0]["segmentation"] = [[1, 1, 9, "x", 9, 9]]


def _no_image_that_can_be_used(content: Content) -> None:
    for image in content["images"]:
        image.update(neg_category_ids="x", not_exhaustive_category_ids=[])


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (_only_a_broken_mask, "has a polygon with 'x' for a coordinate"),
        (_no_image_that_can_be_used, "has neg_category_ids='x'"),
    ],
)
def test_masks_that_another_problem_hides_are_not_called_missing(
    train: CocoFiles, val: CocoFiles, how: Callable[[Content], object], said: str
) -> None:
    change(val, how)
    with pytest.raises(DatasetError) as caught:
        check(train, val)
    assert [one for one in caught.value.problems if said not in one] == []


def test_a_validation_split_that_nobody_needs_is_not_opened(
    train: CocoFiles, tmp_path: Path
) -> None:
    absent = CocoFiles(images=tmp_path / "no", annotations=tmp_path / "no.json")
    checked = check(train, absent, need_val=False)
    assert checked.val is None
    assert len(checked.summary()) == 1


def test_problems_of_both_files_come_in_one_message(train: CocoFiles, val: CocoFiles) -> None:
    change(train, lambda c: c["annotations"][0].update(category_id=91))
    change(val, lambda c: c["annotations"][0].update(bbox=[500, 5, 5, 5]))
    with pytest.raises(DatasetError) as caught:
        check(train, val)
    message = str(caught.value)
    assert message.index("train.json: 1 problem") < message.index("val.json: 1 problem")
    assert "category_id=91" in message
    assert "wholly outside" in message
    assert len(caught.value.problems) == 2
    assert str(val.annotations) in caught.value.problems[1]


def test_many_problems_of_one_file_do_not_hide_the_other(train: CocoFiles, val: CocoFiles) -> None:
    def flood(content: Content) -> None:
        content["annotations"] = [{"id": key} for key in range(100)]

    change(train, flood)
    val.annotations.write_text("{")
    with pytest.raises(DatasetError, match="broken JSON") as caught:
        check(train, val)
    assert "and 280 more" in str(caught.value)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (
            lambda c: c["categories"].append({"id": 5, "name": "new"}),
            r"category 5 is 'new' here but absent in",
        ),
        (lambda c: c["categories"][0].update(name="ring"), "category 3 is 'ring' here but 'disc'"),
    ],
)
def test_categories_of_both_files_must_agree(
    train: CocoFiles, val: CocoFiles, how: Callable[[Content], object], expected: str
) -> None:
    change(val, how)
    with pytest.raises(DatasetError, match=expected):
        check(train, val)


def test_a_category_that_validation_lacks_is_named(train: CocoFiles, val: CocoFiles) -> None:
    change(train, lambda c: c["categories"].append({"id": 5, "name": "new"}))
    with pytest.raises(DatasetError, match="category 5 is absent here but 'new' in"):
        check(train, val)


def test_a_pair_that_does_not_fit_is_reported_with_problems_of_the_other_file(
    train: CocoFiles, val: CocoFiles, tmp_path: Path
) -> None:
    change(train, lambda c: c["annotations"][0].update(category_id=91))
    with pytest.raises(DatasetError, match="category_id=91") as caught:
        check(train, without_masks(val, tmp_path / "boxes.json"))
    assert "no annotation has a mask" in str(caught.value)


def test_the_order_of_categories_does_not_matter(train: CocoFiles, val: CocoFiles) -> None:
    change(val, lambda c: c["categories"].reverse())
    assert check(train, val).val.masks.complete


def test_strict_reaches_both_files(train: CocoFiles, val: CocoFiles) -> None:
    change(val, lambda c: c["annotations"][0].update(bbox=[-1, 5, 5, 5]))
    with pytest.raises(DatasetError) as caught:
        check(train, val, strict=True)
    assert "is a crowd" in str(caught.value)
    assert "px over the border" in str(caught.value)


def test_a_truncated_image_is_found_before_training(train: CocoFiles, val: CocoFiles) -> None:
    path = val.images / "val" / "1.png"
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DatasetError, match=r"image 20: .*cannot be read"):
        check(train, val)
    assert json.loads(val.annotations.read_text())


def crowded(files: CocoFiles, count: int) -> CocoFiles:
    """The first box of the file that many times on its image, and nothing else."""

    def repeat(content: Content) -> None:
        first = content["annotations"][0]
        content["annotations"] = [{**first, "id": number} for number in range(1, count + 1)]

    return change(files, repeat)


FOLLOWS = (
    "one image has {} objects: segmenters keep {} detections per image where their recipes keep "
    "fewer, and AP counts more than the usual 100 (LVIS: 300) where the validation file needs it; "
    "the report says how many"
)


@pytest.mark.parametrize(
    ("in_train", "in_val", "notes"),
    [
        (100, 100, []),
        (3, 120, [FOLLOWS.format(120, 150)]),
        (120, 3, [FOLLOWS.format(120, 150)]),
        (500, 101, [FOLLOWS.format(500, 630)]),
        (2300, 3, [FOLLOWS.format(2300, 2000)]),
        (
            3,
            2300,
            [
                FOLLOWS.format(2300, 2000),
                "validation file: no prediction can reach 300 objects that lie beyond 2000 on "
                "their image. Cut such images into tiles",
            ],
        ),
    ],
)
def test_images_with_very_many_objects_are_noted(
    train: CocoFiles, val: CocoFiles, in_train: int, in_val: int, notes: list[str]
) -> None:
    checked = check(crowded(train, in_train), crowded(val, in_val))
    assert checked.most_objects == max(in_train, in_val)
    first, second, *rest = checked.summary()
    assert first.endswith(f", up to {in_train} objects per image")
    assert second.endswith(f", up to {in_val} objects per image")
    assert rest == notes


def test_without_a_validation_file_the_training_file_counts(train: CocoFiles) -> None:
    checked = check(crowded(train, 120), train, need_val=False)
    assert checked.summary()[1:] == (FOLLOWS.format(120, 150),)


def test_images_that_segmenters_leave_out_are_counted(train: CocoFiles, val: CocoFiles) -> None:
    def shrink(content: Content) -> None:
        content["images"][0].update(width=31)
        content["annotations"] = [one for one in content["annotations"] if one["image_id"] != 10]

    checked = check_data_without_images(change(train, shrink), val)
    assert (
        "training file: 1 of 3 images have a side under 32 px, which mmdet's recipes leave out of "
        "phase 2"
    ) in checked.summary()


def check_data_without_images(train: CocoFiles, val: CocoFiles) -> CheckedData:
    views = [read_view(files.annotations) for files in (train, val)]
    return CheckedData(train=views[0], val=views[1])
