"""LVIS and Objects365: COCO with other ways to name an image."""

import pytest

from mal_core.data.json_lists import read_whole
from mal_core.errors import DatasetError
from mal_core.formats import FORMATS, align_classes
from tests.mal_core.formats.drawn_formats import EXPECTED, boxes_of, coco, draw, write_json

LVIS, OBJECTS365 = FORMATS["lvis"], FORMATS["objects365"]


def lvis_content():
    content = coco()
    for image in content["images"]:
        image["coco_url"] = f"http://images.cocodataset.org/train2017/{image.pop('file_name')}"
        image["neg_category_ids"], image["not_exhaustive_category_ids"] = [2], [1]
    return content


@pytest.mark.parametrize("nested", [True, False])
def test_lvis_finds_images_by_their_url(nested, tmp_path):
    names = ("train2017/a.jpg", "train2017/b.jpg") if nested else ("a.jpg", "b.jpg")
    images = draw(tmp_path / "images", names)
    normal = LVIS.to_coco(images, write_json(tmp_path / "lvis.json", lvis_content()))
    assert [entry["file_name"] for entry in normal["images"]] == list(names)
    assert [box for _, _, box in boxes_of(normal)] == [box for _, _, box in EXPECTED]
    for image in normal["images"]:
        assert (image["neg_category_ids"], image["not_exhaustive_category_ids"]) == ([2], [1])


@pytest.mark.parametrize("url", [None, 5, "http://host/"])
def test_lvis_images_without_a_url_are_named(url, tmp_path):
    content = lvis_content()
    content["images"][1]["coco_url"] = url
    with pytest.raises(DatasetError, match="image 1 has coco_url="):
        LVIS.to_coco(tmp_path, write_json(tmp_path / "lvis.json", content))


@pytest.mark.parametrize("folder", ["images/v1/patch8", "patch8", "."])
def test_objects365_takes_the_longest_tail_that_exists(folder, tmp_path):
    content = coco()
    for image in content["images"]:
        image["file_name"] = f"images/v1/patch8/{image['file_name']}"
    images = draw(tmp_path, (f"{folder}/a.jpg", f"{folder}/b.jpg"))
    normal = OBJECTS365.to_coco(images, write_json(tmp_path / "o.json", content))
    for image in normal["images"]:
        assert (images / image["file_name"]).is_file()


def test_objects365_keeps_a_name_that_it_cannot_find(tmp_path):
    normal = OBJECTS365.to_coco(tmp_path, write_json(tmp_path / "o.json", coco()))
    assert [image["file_name"] for image in normal["images"]] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("text", [None, "{", "[1, 2"])
def test_broken_files_are_refused(text, tmp_path):
    path = tmp_path / "a.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DatasetError, match=r"a\.json"):
        read_whole(path)


def test_the_same_class_has_one_number_in_both_splits():
    train, val = coco(), coco()
    val["categories"] = [{"id": 1, "name": "dog"}, {"id": 2, "name": "ant"}]
    align_classes([train, val])
    assert train["categories"] == val["categories"]
    assert [entry["name"] for entry in train["categories"]] == ["ant", "cat", "dog"]
    assert [name for _, name, _ in boxes_of(train)] == ["cat", "dog", "dog"]
    assert [name for _, name, _ in boxes_of(val)] == ["dog", "ant", "ant"]
