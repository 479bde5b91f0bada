"""Pascal VOC: boxes in, PNG masks out."""

import re

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


@pytest.mark.parametrize("line", ["a photo", "a photo 1", "a photo  -1", "a photo.jpg"])
def test_a_line_of_a_list_is_a_name_with_or_without_the_number_of_a_class(line, tmp_path):
    write_voc(tmp_path / "Annotations")
    (tmp_path / "Annotations" / "b.xml").rename(tmp_path / "Annotations" / "a photo.xml")
    names = tmp_path / "ImageSets" / "Main" / "val.txt"
    names.parent.mkdir(parents=True)
    names.write_text(f"{line}\n")
    assert boxes_of(VOC.to_coco(draw(tmp_path / "JPEGImages"), names)) == EXPECTED[2:]
    names.write_text("no photo 1\n")
    with pytest.raises(DatasetError, match=r"no photo\.xml: the file does not exist"):
        VOC.to_coco(tmp_path / "JPEGImages", names)


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
        ("<width>40</width><height>30</height>", "",
         r"a\.xml has no <size>\. Add the <width> and <height> of its image, in px\.$"),
        ("<xmin>5</xmin>", "<xmin>99</xmin>",
         r"a\.xml: object 1 has xmin=99 and xmax=16: exchange the two, or drop the object\.$"),
        ("</bndbox>", "</bndbox><bndbox/>",
         r"a\.xml: object 1 has 2 <bndbox>\. Keep one, or make an object of each\."),
        ("<difficult>0</difficult>", "<polygon><x1>5</x1><x2>6</x2></polygon>",
         r"a\.xml: object 1 has a <polygon> whose x and y do not alternate\. Correct it\."),
        ("<filename>", "<folder>a & b</folder><filename>",
         r"a\.xml: broken XML: .* Write & as &amp;\.$"),
    ],
)  # fmt: skip
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


def test_an_empty_file_is_called_empty(tmp_path):
    annotations = write_voc(tmp_path / "Annotations")
    (annotations / "a.xml").write_text(" \n")
    said = r"a\.xml: is empty\. Write it again, or drop it with its image\.$"
    with pytest.raises(DatasetError, match=said):
        VOC.to_coco(draw(tmp_path / "images"), annotations)


def test_shares_of_the_size_are_refused(tmp_path):
    annotations = write_voc(tmp_path / "Annotations")
    for path in annotations.iterdir():
        path.write_text(re.sub(r"<([xy]m..)>\d+<", r"<\1>0.5<", path.read_text()))
    with pytest.raises(DatasetError) as caught:
        VOC.to_coco(draw(tmp_path / "images"), annotations)
    assert caught.value.problems == (
        "all 3 boxes have corners from 0 to 1, the first is a.xml, object 1, but VOC wants px. "
        "Multiply x by the width of the image and y by its height.",
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<annotation>", '<annotation xmlns="http://example.org/voc">'),
        ("<annotation>", '\n<?xml version="1.0"?>\n<annotation>'),
    ],
)
def test_what_surrounds_the_xml_changes_nothing(old, new, tmp_path):
    annotations = write_voc(tmp_path / "Annotations")
    for path in annotations.iterdir():
        path.write_text(path.read_text().replace(old, new, 1))
    assert boxes_of(VOC.to_coco(draw(tmp_path / "images"), annotations)) == EXPECTED


def test_a_list_may_name_the_images(tmp_path):
    write_voc(tmp_path / "Annotations")
    listed = tmp_path / "ImageSets" / "Main" / "train.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("a.jpg\nb.jpg\n")
    assert boxes_of(VOC.to_coco(draw(tmp_path / "images"), listed)) == EXPECTED


@pytest.mark.parametrize(
    "polygon",
    [
        "<x1>4</x1><y1>5</y1><x2>16</x2><y2>5</y2><x3>16</x3><y3>15</y3>",
        "<pt><x>4</x><y>5</y></pt><pt><x>16</x><y>5</y></pt><pt><x>16</x><y>15</y></pt>",
    ],
)
def test_a_polygon_is_a_mask_and_attributes_stay(polygon, tmp_path):
    annotations = write_voc(tmp_path / "Annotations")
    turned = "<attribute><name>rotation</name><value>30.0</value></attribute>"
    inner = f"<polygon>{polygon}</polygon><attributes>{turned}</attributes><bndbox>"
    path = annotations / "a.xml"
    path.write_text(path.read_text().replace("<bndbox>", inner, 1))
    first, *others = VOC.to_coco(draw(tmp_path / "images"), annotations)["annotations"]
    assert first["segmentation"] == [[4, 5, 16, 5, 16, 15]]
    assert first["attributes"] == {"rotation": 30.0}
    assert not any({"segmentation", "attributes"} & other.keys() for other in others)


def test_photos_without_a_file_and_pixels_from_zero_are_noted(tmp_path):
    annotations, images = write_voc(tmp_path / "Annotations"), draw(tmp_path / "images")
    draw(images, ("c.jpg",))
    path = annotations / "b.xml"
    path.write_text(path.read_text().replace("<xmin>1<", "<xmin>0<"))
    assert VOC.notes(images, annotations, VOC.to_coco(images, annotations)) == [
        "1 images have no XML file, the first is 'c.jpg': they are not read.",
        "1 objects have an xmin or ymin below 1, the first is b.xml, object 1: VOC counts pixels "
        "from 1, and so they are read. If these files count from 0, boxes lie 1 px too far to the "
        "left and up.",
    ]


def xml_of(folder, boxes):
    """An XML file with these numbers as xmin, ymin, xmax and ymax."""
    objects = "".join(
        f"<object><name>cat</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax>"
        f"<ymax>{d}</ymax></bndbox></object>"
        for a, b, c, d in boxes
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.xml").write_text(
        "<annotation><filename>a.jpg</filename><size><width>40</width><height>30</height></size>"
        f"{objects}</annotation>"
    )
    return folder


def test_widths_and_heights_in_place_of_corners_are_named_as_that(tmp_path):
    boxes = [(20, 10, 12, 9), (3, 4, 20, 20), (25, 18, 10, 10), (30, 5, 8, 8), (2, 20, 30, 8)]
    with pytest.raises(DatasetError) as caught:
        VOC.to_coco(draw(tmp_path / "images"), xml_of(tmp_path / "Annotations", boxes))
    assert caught.value.problems == (
        "its 5 boxes all fit their images as [x, y, width, height], and 4 do not as xmin, ymin, "
        "xmax and ymax, as which they are written: the program that wrote <bndbox> took the one "
        "for the other. Write x + width and y + height as xmax and ymax.",
    )


def test_one_box_of_exchanged_corners_is_that_box_alone(tmp_path):
    boxes = [(20, 10, 12, 19), (3, 4, 20, 20), (25, 18, 38, 28), (30, 5, 38, 8), (2, 20, 30, 28)]
    with pytest.raises(DatasetError) as caught:
        VOC.to_coco(draw(tmp_path / "images"), xml_of(tmp_path / "Annotations", boxes))
    assert caught.value.problems == (
        "a.xml: object 1 has xmin=20 and xmax=12: exchange the two, or drop the object.",
    )


def test_an_xml_file_that_is_a_link_to_nothing_is_called_that(tmp_path):
    folder = write_voc(tmp_path / "Annotations")
    (folder / "a.xml").unlink()
    (folder / "a.xml").symlink_to("/gone/a.xml")
    with pytest.raises(DatasetError) as caught:
        VOC.to_coco(draw(tmp_path / "images"), folder)
    assert caught.value.problems == (
        "a.xml: is a link to '/gone/a.xml', which is not there. Add it or drop its name.",
    )


def test_a_photo_that_is_named_with_an_upload_prefix_is_not_called_unread(tmp_path):
    folder, images = write_voc(tmp_path / "Annotations"), draw(tmp_path / "images")
    text = (folder / "a.xml").read_text()
    (folder / "a.xml").write_text(text.replace(">a.jpg<", ">0a1b2c3d-a.jpg<"))
    assert VOC.notes(images, folder, VOC.to_coco(images, folder)) == []
