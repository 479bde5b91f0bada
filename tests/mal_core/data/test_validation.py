"""Entries of a COCO file: what is refused, and what becomes of the irregular."""

import math
from pathlib import Path
from typing import Any

import pytest

from mal_core.data.view import read_view
from mal_core.types import SkipReason
from tests.builders import HEIGHT, WIDTH, CocoFiles, change_coco, problems_of, write_coco

Content = dict[str, Any]


@pytest.fixture
def files(tmp_path: Path) -> CocoFiles:
    return write_coco(tmp_path, with_crowd=True)


def only_problem_of(files: CocoFiles, *, strict: bool = False) -> str:
    (problem,) = problems_of(files, strict=strict)
    return problem


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
@pytest.mark.parametrize("value", [None, {}, "text"])
def test_each_list_of_a_coco_file_is_required(files: CocoFiles, key: str, value: object) -> None:
    assert f"{key!r} is a" in only_problem_of(change_coco(files, lambda c: c.update({key: value})))
    assert f"{key!r} is missing" in only_problem_of(change_coco(files, lambda c: c.pop(key)))


@pytest.mark.parametrize("content", [[], 5, "text", None])
def test_json_that_is_no_object_is_refused(files: CocoFiles, content: object) -> None:
    files.rewrite(content)
    assert "not a COCO file" in only_problem_of(files)


@pytest.mark.parametrize("field", ["id", "image_id", "category_id", "bbox"])
@pytest.mark.parametrize("value", ["absent", None, "5", 1.5, True, {}])
def test_an_annotation_needs_each_of_its_fields_in_the_right_type(
    files: CocoFiles, field: str, value: object
) -> None:
    entry_id = "annotation at position 0" if field == "id" else "annotation 1000"

    def change(content: Content) -> None:
        entry = content["annotations"][0]
        entry.pop(field) if value == "absent" else entry.update({field: value})

    problem = only_problem_of(change_coco(files, change))
    assert entry_id in problem
    assert field in problem


@pytest.mark.parametrize("field", ["id", "file_name", "height", "width"])
@pytest.mark.parametrize("value", ["absent", None, [1], 1.5, False])
def test_an_image_needs_each_of_its_fields_in_the_right_type(
    files: CocoFiles, field: str, value: object
) -> None:
    def change(content: Content) -> None:
        entry = content["images"][2]
        entry.pop(field) if value == "absent" else entry.update({field: value})

    found = problems_of(change_coco(files, change))
    assert found[0].startswith("image at position 2" if field == "id" else "image 30")
    assert field in found[0]
    # Without an id its boxes refer to nothing; otherwise one mistake gives one message.
    assert len(found) == (3 if field == "id" else 1)


@pytest.mark.parametrize("field", ["id", "name"])
@pytest.mark.parametrize("value", ["absent", None, [], 2.0])
def test_a_category_needs_each_of_its_fields_in_the_right_type(
    files: CocoFiles, field: str, value: object
) -> None:
    def change(content: Content) -> None:
        entry = content["categories"][1]
        entry.pop(field) if value == "absent" else entry.update({field: value})

    found = problems_of(change_coco(files, change))
    assert found[0].startswith("category at position 1" if field == "id" else "category 90")
    assert len(found) == (4 if field == "id" else 1)


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
@pytest.mark.parametrize("entry", [None, 3, "x", []])
def test_an_entry_that_is_no_object_is_refused_by_its_position(
    files: CocoFiles, key: str, entry: object
) -> None:
    problem = only_problem_of(change_coco(files, lambda c: c[key].append(entry)))
    assert "must be an object" in problem
    assert f"position {len(files.content()[key]) - 1}" in problem


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([64, 5, 10, 10], "wholly outside"),
        ([5, 500, 10, 10], "wholly outside"),
        ([-30, 5, 10, 10], "wholly outside"),
        ([-1.5, 5, 1, 10], "wholly outside"),
        ([10**400, 5, 10, 10], "wholly outside"),
        ([-2.1, 5, 10, 10], "reaches 2.1 px over"),
        ([50, 5, 30, 10], "reaches 16 px over"),
        ([5, -3, 10, 10], "reaches 3 px over"),
        ([5, 40, 10, 10.5], "reaches 2.5 px over"),
        ([-40, 5, 0, 10], "wholly outside"),
        ([math.nan, 5, 10, 10], "NaN or infinite"),
        ([5, 5, math.inf, 10], "NaN or infinite"),
        ([5, -math.inf, 10, 10], "NaN or infinite"),
        ([5, 5, -10, 10], "negative size"),
        ([5, 5, 10, -0.5], "negative size"),
        ([5, 5, 10], "four numbers"),
        ([5, 5, 10, 10, 10], "four numbers"),
        ([5, 5, "10", 10], "four numbers"),
        ([5, 5, None, 10], "four numbers"),
        ([True, 5, 10, 10], "four numbers"),
        ([[5, 5], 10, 10, 10], "four numbers"),
        ([], "four numbers"),
    ],
)
@pytest.mark.parametrize("index", [0, 1], ids=["box", "crowd"])
def test_impossible_boxes_are_refused(
    files: CocoFiles, box: list[object], expected: str, index: int
) -> None:
    change_coco(files, lambda c: c["annotations"][index].update(bbox=box))
    problem = only_problem_of(files)
    assert problem.startswith(f"annotation {(1000, 7)[index]} ")
    assert expected in problem


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        ([-2, 5, 10, 10], (0, 5, 8, 15)),
        ([5, -0.5, 10, 10], (5, 0, 15, 9.5)),
        ([60, 5, 6, 10], (60, 5, 64, 15)),
        ([5, 40, 10, 9.75], (5, 40, 15, 48)),
        ([-1, -1, 66, 50], (0, 0, 64, 48)),
    ],
)
def test_an_overhang_of_up_to_two_pixels_is_clipped_and_counted(
    files: CocoFiles, box: list[float], clipped: tuple[float, ...]
) -> None:
    dataset = change_coco(files, lambda c: c["annotations"][0].update(bbox=box)).read()
    assert dataset.boxes[0].box_xyxy == clipped
    assert dataset.num_clipped == 1
    strict = problems_of(files, strict=True)
    assert any(p.startswith("annotation 1000 ") and "px over the border" in p for p in strict)


def test_rounding_noise_at_the_border_is_no_overhang(files: CocoFiles) -> None:
    box = [58.03, 5, 64 - 58.03 + 1e-12, 10]

    def change(content: Content) -> None:
        content["annotations"][0]["bbox"] = box
        del content["annotations"][1]

    dataset = change_coco(files, change).read(strict=True)
    assert dataset.num_clipped == 0
    assert dataset.boxes[0].box_xyxy[2] == WIDTH


@pytest.mark.parametrize("size", [[0, 10], [10, 0], [0, 0], [0.0, 3]])
def test_a_zero_size_box_is_skipped_with_its_reason(files: CocoFiles, size: list[float]) -> None:
    change_coco(files, lambda c: c["annotations"][0].update(bbox=[5, 5, *size]))
    dataset = files.read()
    (skipped,) = dataset.skipped
    assert (skipped.annotation_id, skipped.image_id) == (1000, 10)
    assert skipped.reason is SkipReason.ZERO_SIZE_BOX
    assert dataset.num_annotations == len(files.content()["annotations"])
    strict = problems_of(files, strict=True)
    assert any(p.startswith("annotation 1000 ") and "zero size" in p for p in strict)


def test_strict_refuses_crowds(files: CocoFiles) -> None:
    problem = only_problem_of(files, strict=True)
    assert problem.startswith("annotation 7 is a crowd")


def test_strict_accepts_a_clean_file(tmp_path: Path) -> None:
    files = write_coco(tmp_path)
    assert files.read(strict=True) == files.read()


@pytest.mark.parametrize(
    ("key", "kind", "entry_id"),
    [("images", "image", 10), ("annotations", "annotation", 1000), ("categories", "category", 3)],
)
def test_duplicate_ids_are_refused(files: CocoFiles, key: str, kind: str, entry_id: int) -> None:
    problem = only_problem_of(change_coco(files, lambda c: c[key].append(c[key][0])))
    assert problem.startswith(f"{kind} {entry_id} occurs more than once")


def test_two_categories_of_one_name_are_refused(files: CocoFiles) -> None:
    def change(content: Content) -> None:
        content["categories"][1]["name"] = "disc"

    problem = only_problem_of(change_coco(files, change))
    assert "category 90" in problem
    assert "'disc'" in problem


@pytest.mark.parametrize("name", ["", " \t"])
def test_a_category_of_an_empty_name_is_refused(files: CocoFiles, name: str) -> None:
    change = change_coco(files, lambda c: c["categories"][1].update(name=name))
    assert only_problem_of(change) == (
        "category 90 has an empty name, which labels in YOLO or VOC could not say. Name the class."
    )


@pytest.mark.parametrize("field", ["image_id", "category_id"])
def test_references_to_nothing_are_refused(files: CocoFiles, field: str) -> None:
    problem = only_problem_of(change_coco(files, lambda c: c["annotations"][0].update({field: 91})))
    assert problem.startswith(f"annotation 1000 has {field}=91")


@pytest.mark.parametrize("crowd", [2, "0", None, []])
def test_iscrowd_must_be_0_or_1(files: CocoFiles, crowd: object) -> None:
    change_coco(files, lambda c: c["annotations"][0].update(iscrowd=crowd))
    problem = only_problem_of(files)
    assert "iscrowd" in problem


def test_a_number_that_json_does_not_have_is_named_with_its_entry(files: CocoFiles) -> None:
    def change(content: Content) -> None:
        content["images"][0]["shot"]["iso"] = math.inf
        content["annotations"][0]["weights"] = [1.0, math.nan]

    found = problems_of(change_coco(files, change))
    assert [p.split(" has ")[0] for p in found] == ["image 10", "annotation 1000"]
    assert "weights" in found[1]


@pytest.mark.parametrize(
    ("box", "said"),
    [
        (
            [4, 5, 1e-300, 10],
            "annotation 1000 has bbox=[4, 5, 1e-300, 10], which is too thin to be of anything in "
            f"the image of {WIDTH} x {HEIGHT} px. Correct or drop the box.",
        ),
        (
            [4, 5, 8, 5e-324],
            "annotation 1000 has bbox=[4, 5, 8, 5e-324], which is too thin to be of anything in "
            f"the image of {WIDTH} x {HEIGHT} px. Correct or drop the box.",
        ),
        (
            [4, 5, 12, 10, 30.5],
            "annotation 1000 has bbox=[4, 5, 12, 10, 30.5], but it must be four numbers [x, y, "
            "width, height] in px. Is the fifth an angle? Write its four corners as rotated_box, "
            "and what is around as bbox.",
        ),
        (
            [4, 5, 16, 5, 16, 15, 4, 15],
            "annotation 1000 has bbox=[4, 5, 16, 5, 16, 15, ...], but it must be four numbers "
            "[x, y, width, height] in px. Are these four corners? Write them as rotated_box, and "
            "what is around as bbox.",
        ),
        (
            ["4", 5, 12, 10, 3],
            "annotation 1000 has bbox=['4', 5, 12, 10, 3], but it must be four numbers [x, y, "
            "width, height] in px.",
        ),
    ],
)
def test_boxes_that_are_none_are_told_with_what_they_may_be(
    files: CocoFiles, box: object, said: str
) -> None:
    change_coco(files, lambda c: c["annotations"][0].update(bbox=box))
    assert only_problem_of(files) == said


@pytest.mark.parametrize("field", ["neg_category_ids", "not_exhaustive_category_ids"])
@pytest.mark.parametrize("value", [None, "1", 5, {}, [[1]], ["1"], [1.0], [True]])
def test_lists_of_lvis_that_are_none_are_refused_before_anything_is_scored(
    files: CocoFiles, field: str, value: object
) -> None:
    def change(content: Content) -> None:
        for image in content["images"]:
            image.update(neg_category_ids=[], not_exhaustive_category_ids=[1])
        content["images"][1][field] = value

    change_coco(files, change)
    image_id = files.content()["images"][1]["id"]
    assert only_problem_of(files) == (
        f"image {image_id} has {field}={value!r}, but it must be a list of category ids. Write [] "
        "where there are none."
    )


def test_one_of_the_lists_of_lvis_alone_is_just_a_key(files: CocoFiles) -> None:
    change_coco(files, lambda c: c["images"][1].update(neg_category_ids=None))
    assert read_view(files.annotations).problems == ()
