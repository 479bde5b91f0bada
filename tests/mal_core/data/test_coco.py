"""Reading COCO files: what is refused, what is tolerated, and that masks stay outside."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mal_core.data.coco import has_masks, noisy_box, strip_masks
from mal_core.errors import DatasetError
from mal_core.types import BoxDataset
from tests.builders import (
    HEIGHT,
    WIDTH,
    CocoFiles,
    annotation,
    change_coco,
    problems_of,
    without_masks,
    write_coco,
)

COCO_DEV = Path(__file__).resolve().parents[4] / "shared" / "data" / "coco_dev"
Content = dict[str, Any]


@pytest.fixture
def files(tmp_path: Path) -> CocoFiles:
    return write_coco(tmp_path, with_crowd=True)


def only_problem_of(files: CocoFiles, *, strict: bool = False) -> str:
    (problem,) = problems_of(files, strict=strict)
    return problem


def test_boxes_images_and_categories_arrive_as_the_file_has_them(files: CocoFiles) -> None:
    dataset = files.read(strict=False, decode=True)
    assert [c.category_id for c in dataset.categories] == [3, 90]
    first = dataset.images[0]
    assert (first.image_id, first.file_name) == (10, "train/0.png")
    assert (first.width, first.height) == (WIDTH, HEIGHT)
    assert dataset.boxes[0].box_xyxy == (4.0, 5.0, 24.0, 21.0)
    assert [b.annotation_id for b in dataset.boxes] == [1000, 1001, 2000, 2001, 3000, 3001]
    assert (dataset.num_crowds, dataset.num_clipped, dataset.skipped) == (1, 0, ())
    assert dataset.num_annotations == 7


def poison_segmentation(content: Content) -> None:
    for entry in content["annotations"]:
        entry["segmentation"] = [[math.nan, -5, 1e9]]


def poison_area(content: Content) -> None:
    for entry in content["annotations"]:
        entry["area"] = -17


def drop_masks(content: Content) -> None:
    for entry in content["annotations"]:
        del entry["segmentation"], entry["area"]


@pytest.mark.parametrize("poison", [poison_segmentation, poison_area, drop_masks])
def test_masks_have_no_influence_on_what_phase_1_gets(
    files: CocoFiles, poison: Callable[[Content], None]
) -> None:
    clean = files.read()
    assert change_coco(files, poison).read() == clean


def test_a_box_dataset_has_no_field_that_could_hold_a_mask() -> None:
    names = {field.name for field in dataclasses.fields(BoxDataset)}
    assert not any("mask" in name or "segmentation" in name for name in names)


def test_optional_fields_may_be_absent(files: CocoFiles) -> None:
    clean = files.read()

    def change(content: Content) -> None:
        for key in ("info", "licenses", "kept"):
            del content[key]
        for entry in content["annotations"]:
            for key in ("note", "area", "segmentation"):
                entry.pop(key, None)
            if entry["iscrowd"] == 0:
                del entry["iscrowd"]

    assert change_coco(files, change).read() == clean


def test_a_missing_annotation_file_is_named(tmp_path: Path) -> None:
    problem = only_problem_of(CocoFiles(images=tmp_path, annotations=tmp_path / "none.json"))
    assert "does not exist" in problem


def test_a_folder_in_place_of_the_annotation_file_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in only_problem_of(CocoFiles(images=tmp_path, annotations=tmp_path))


def test_broken_json_is_located_by_line_and_column(files: CocoFiles) -> None:
    files.annotations.write_text('{"images": [],\n "annotations": [}')
    assert "line 2, column 18" in only_problem_of(files)


@pytest.mark.parametrize("text", [b"", b"\xff\xfe\xfa\x00", b'"\xe9"', b"[" * 100_000])
def test_bytes_that_are_no_json_text_are_refused(files: CocoFiles, text: bytes) -> None:
    files.annotations.write_bytes(text)
    assert "JSON" in only_problem_of(files)


def test_a_cut_off_file_is_refused(files: CocoFiles) -> None:
    whole = files.annotations.read_bytes()
    files.annotations.write_bytes(whole[: len(whole) // 2])
    assert "broken JSON" in only_problem_of(files)


def test_a_byte_order_mark_is_tolerated(files: CocoFiles) -> None:
    clean = files.read()
    files.annotations.write_bytes(b"\xef\xbb\xbf" + files.annotations.read_bytes())
    assert files.read() == clean


@pytest.mark.parametrize("key", ["images", "annotations"])
def test_an_empty_list_is_an_empty_dataset(files: CocoFiles, key: str) -> None:
    found = problems_of(change_coco(files, lambda c: c.update({key: []})))
    assert found[0].startswith("empty dataset")
    assert key in found[0]


def test_a_file_of_crowds_and_zero_size_boxes_is_an_empty_dataset(files: CocoFiles) -> None:
    def change(content: Content) -> None:
        content["annotations"] = content["annotations"][:2]
        content["annotations"][0]["bbox"][2] = 0

    assert "1 crowds, 1 of zero size" in only_problem_of(change_coco(files, change))


def test_images_without_boxes_and_large_ids_are_fine(files: CocoFiles) -> None:
    big = 2**70

    def change(content: Content) -> None:
        content["images"].append({**content["images"][0], "id": big, "file_name": "train/1.png"})
        content["images"].append({**content["images"][0], "id": 0, "file_name": "train/2.png"})
        content["annotations"].append(annotation(big + 1, big, 3, [1, 1, 5, 5]))

    dataset = change_coco(files, change).read()
    assert dataset.boxes[-1].image_id == big
    assert len(dataset.images) == 5


def test_all_problems_of_a_file_and_its_images_come_together(files: CocoFiles) -> None:
    def change(content: Content) -> None:
        content["annotations"][0]["bbox"] = [math.nan, 1, 2, 3]
        content["annotations"][2].update(category_id=91, bbox=[500, 1, 2, 3])
        content["images"][1]["width"] = 70
        content["categories"].append({"id": 3, "name": "again"})

    (files.images / "train" / "2.png").unlink()
    found = "\n".join(problems_of(change_coco(files, change)))
    for expected in (
        "annotation 1000",
        "category_id=91",
        "wholly outside",
        "category 3 occurs",
        "image 20: ",
        "image 30: ",
    ):
        assert expected in found


def test_has_masks_wants_a_mask_for_every_box_that_could_have_one(files: CocoFiles) -> None:
    assert has_masks(files.annotations)

    def crowd_and_zero_size(content: Content) -> None:
        content["annotations"][0].update(bbox=[5, 5, 0, 1], segmentation=[])
        content["annotations"][1]["segmentation"] = None

    assert has_masks(change_coco(files, crowd_and_zero_size).annotations)
    for useless in ([], [[1, 2, 3, 4]], None, {"size": [48, 64]}, "x"):
        change_coco(files, lambda c, m=useless: c["annotations"][2].update(segmentation=m))
        assert not has_masks(files.annotations)
    polygon = [[34, 10, 50, 10, 50, 25]]
    assert has_masks(
        change_coco(files, lambda c: c["annotations"][2].update(segmentation=polygon)).annotations
    )


def test_a_boxes_only_file_has_no_masks(files: CocoFiles, tmp_path: Path) -> None:
    assert not has_masks(without_masks(files, tmp_path / "boxes.json").annotations)


def test_stripping_removes_masks_and_areas_and_nothing_else(
    files: CocoFiles, tmp_path: Path
) -> None:
    output = tmp_path / "new" / "boxes.json"
    strip_masks(files.annotations, output)
    expected = without_masks(files, tmp_path / "expected.json").content()
    assert json.loads(output.read_text()) == expected
    boxes = CocoFiles(images=files.images, annotations=output).read()
    assert dataclasses.replace(boxes, annotations_path=files.annotations) == files.read()


def test_stripped_files_of_different_masks_are_equal_bytes(
    files: CocoFiles, tmp_path: Path
) -> None:
    strip_masks(files.annotations, tmp_path / "a.json")
    strip_masks(change_coco(files, poison_segmentation).annotations, tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_file_that_cannot_be_stripped_leaves_the_old_copy(
    files: CocoFiles, tmp_path: Path
) -> None:
    output = tmp_path / "boxes.json"
    output.write_text("old")
    change_coco(files, lambda c: c["info"].update(version=math.nan))
    with pytest.raises(DatasetError, match="JSON does not allow"):
        strip_masks(files.annotations, output)
    assert output.read_text() == "old"
    assert not list(tmp_path.glob(".boxes*"))


@pytest.mark.skipif(not COCO_DEV.is_dir(), reason="the shared photos are not here")
@pytest.mark.parametrize(("split", "count", "crowds"), [("train", 1973, 18), ("val", 1034, 11)])
def test_real_coco_is_read_whole(split: str, count: int, crowds: int) -> None:
    annotations = COCO_DEV / "annotations" / f"instances_{split}.json"
    files = CocoFiles(images=COCO_DEV / "images", annotations=annotations)
    dataset = files.read(decode=True)
    assert (dataset.num_annotations, dataset.num_crowds) == (count, crowds)
    assert len(dataset.boxes) == count - crowds
    assert has_masks(annotations)


def test_boxes_for_experiments_are_as_careless_as_asked_for(tmp_path: Path) -> None:
    files = write_coco(tmp_path, with_crowd=True)
    plain, noisy, again = (tmp_path / f"{name}.json" for name in ("plain", "noisy", "again"))
    strip_masks(files.annotations, plain)
    for target in (noisy, again):
        strip_masks(files.annotations, target, box_noise=0.2, seed=3)
    assert noisy.read_bytes() == again.read_bytes()
    before, after = (json.loads(one.read_text())["annotations"] for one in (plain, noisy))
    for old, new in zip(before, after, strict=True):
        if old.get("iscrowd"):
            assert new == old
            continue
        (x, y, w, h), (u, v, p, q) = old["bbox"], new["bbox"]
        moved = (abs(u - x) / w, abs(v - y) / h, abs(u + p - x - w) / w, abs(v + q - y - h) / h)
        assert 0 < max(moved) <= 0.2
        assert {**new, "bbox": old["bbox"]} == old


@pytest.mark.parametrize("shifts", [(-9, -9, 9, 9), (9, 9, -9, -9), (0, 0, 0, 0)])
def test_a_careless_box_stays_in_its_image(shifts: tuple[float, ...]) -> None:
    x, y, w, h = noisy_box([10, 5, 4, 4], (20, 10), shifts)
    assert x >= 0
    assert y >= 0
    assert w >= 1
    assert h >= 1
    assert x + w <= 20
    assert y + h <= 10
