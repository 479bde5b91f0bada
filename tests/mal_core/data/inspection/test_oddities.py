"""What is unusual is counted, and says what will be done about it."""

from pathlib import Path
from typing import Any

from mal_core.data.inspection.oddities import class_order, oddities
from mal_core.data.view import CocoView, read_view
from tests.builders import CocoFiles, write_coco


def view(files: CocoFiles, **changes: Any) -> CocoView:
    files.rewrite({**files.content(), **changes})
    return read_view(files.annotations)


def test_crowds_empty_images_bare_classes_and_copies_are_told(tmp_path: Path) -> None:
    files = write_coco(tmp_path, with_crowd=True)
    content = files.content()
    content["annotations"] = [
        entry for entry in content["annotations"] if entry["image_id"] != 30
    ] + [{**content["annotations"][0], "id": 999}]
    content["categories"].append({"id": 91, "name": "cone"})
    found = {one.kind: one for one in oddities("train", view(files, **content))}
    assert found.keys() == {"crowd", "image-without-box", "class-without-box", "box-twice"}
    assert {one.count for one in found.values()} == {1}
    assert "'cone'" in found["class-without-box"].text


def test_an_ordinary_file_has_nothing_unusual(tmp_path: Path) -> None:
    assert list(oddities("train", view(write_coco(tmp_path)))) == []


def test_another_order_of_classes_is_told_and_other_classes_are_not_its_business(
    tmp_path: Path,
) -> None:
    train = view(write_coco(tmp_path))
    other = write_coco(tmp_path, name="val")
    turned = view(other, categories=other.content()["categories"][::-1])
    (found,) = class_order(train, turned)
    assert (found.count, found.split) == (2, "val")
    assert list(class_order(train, train)) == []


def test_classes_that_differ_in_letter_case_only_are_told(tmp_path: Path) -> None:
    files = write_coco(tmp_path)
    names = ("Disc", "di sc", "Slabs")
    more = [{"id": 100 + place, "name": name} for place, name in enumerate(names)]
    found = oddities("val", view(files, categories=[*files.content()["categories"], *more]))
    (alike,) = [one for one in found if one.kind == "class-alike"]
    assert (alike.count, alike.text) == (
        2,
        "2 classes are called as another one but for letter case or blanks, such as 'Disc' and "
        "'disc': each is a class of its own",
    )
