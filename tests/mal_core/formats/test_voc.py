"""Pascal VOC: boxes in, PNG masks out."""

import numpy as np
import pytest
from PIL import Image

from mal_core.errors import DatasetError
from mal_core.formats import FORMATS
from tests.mal_core.formats.drawn_formats import (
    EXPECTED,
    NAMES,
    OBJECTS,
    boxes_of,
    draw,
    label,
    masks,
    write_voc,
)

VOC = FORMATS["voc"]


def test_boxes_are_counted_from_zero(tmp_path):
    normal = VOC.to_coco(draw(tmp_path / "images"), write_voc(tmp_path / "Annotations"))
    assert boxes_of(normal) == EXPECTED
    assert [entry["difficult"] for entry in normal["annotations"]] == [0, 0, 0]


def test_a_list_of_names_chooses_files(tmp_path):
    write_voc(tmp_path / "Annotations")
    names = tmp_path / "ImageSets" / "Main" / "val.txt"
    names.parent.mkdir(parents=True)
    names.write_text("b\n")
    normal = VOC.to_coco(draw(tmp_path / "JPEGImages"), names)
    assert boxes_of(normal) == EXPECTED[2:]
    assert [path.name for path in VOC.files(tmp_path / "JPEGImages", names)] == ["val.txt", "b.xml"]


def test_masks_return_as_indexed_pictures(tmp_path):
    images, annotations = draw(tmp_path / "images"), write_voc(tmp_path / "Annotations")
    labeled = label(VOC.to_coco(images, annotations))
    VOC.write_masks(labeled, annotations, images, tmp_path / "voc")
    for picture, stem in enumerate("ab"):
        objects = np.asarray(Image.open(tmp_path / "voc" / "SegmentationObject" / f"{stem}.png"))
        classes = np.asarray(Image.open(tmp_path / "voc" / "SegmentationClass" / f"{stem}.png"))
        inside = [(c, m) for (p, c, _), m in zip(OBJECTS, masks(), strict=True) if p == picture]
        for number, (kind, mask) in enumerate(inside, start=1):
            assert np.array_equal(objects == number, mask > 0)
            assert (classes[mask > 0] == kind + 1).all()
        assert ((objects == 0) == (classes == 0)).all()


def test_where_masks_overlap_the_smaller_one_is_on_top(tmp_path):
    images, annotations = draw(tmp_path / "images"), write_voc(tmp_path / "Annotations")
    labeled = label(VOC.to_coco(images, annotations))
    entries = labeled["annotations"]
    entries[1]["segmentation"], entries[1]["area"] = entries[2]["segmentation"], 900
    VOC.write_masks(labeled, annotations, images, tmp_path / "voc")
    objects = np.asarray(Image.open(tmp_path / "voc" / "SegmentationObject" / "a.png"))
    assert np.array_equal(objects == 1, masks()[0] > 0)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("</annotation>", "", r"a\.xml: broken XML"),
        ("<name>cat</name>", "", r"a\.xml: object 1 has no <name>"),
        ("<xmin>5</xmin>", "<xmin>five</xmin>", r"a\.xml: object 1 has bndbox/xmin='five'"),
        ("<width>40</width>", "", r"a\.xml has size/width=None"),
    ],
)
def test_what_is_wrong_is_said_with_its_file(old, new, said, tmp_path):
    annotations = write_voc(tmp_path / "Annotations")
    path = annotations / "a.xml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DatasetError, match=said):
        VOC.to_coco(draw(tmp_path / "images"), annotations)


@pytest.mark.parametrize("present", [True, False])
def test_a_folder_without_files_is_refused(present, tmp_path):
    if present:
        (tmp_path / "Annotations").mkdir()
    with pytest.raises(DatasetError, match="Give the folder `Annotations`"):
        VOC.to_coco(tmp_path, tmp_path / "Annotations")


def test_names_are_in_alphabetical_order(tmp_path):
    normal = VOC.to_coco(draw(tmp_path / "images"), write_voc(tmp_path / "Annotations"))
    assert [entry["name"] for entry in normal["categories"]] == sorted(NAMES)
