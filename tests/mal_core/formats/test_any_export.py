"""What real exports hold: masks, encodings, folders, other tools' files; each with its message."""

import os

import numpy as np
import pytest
from PIL import Image

from mal_core.errors import DatasetError
from mal_core.formats import FORMATS, adopt_classes
from mal_core.formats.detections import detections_to_coco
from mal_core.geometry.masks import rle_iou, segmentation_to_mask, segmentation_to_rle
from tests.mal_core.formats.drawn_formats import (
    HEIGHT,
    WIDTH,
    coco,
    draw,
    label,
    write_json,
    write_voc,
    write_voc_with_masks,
    write_yolo,
)

VOC, YOLO, YTVIS = FORMATS["voc"], FORMATS["yolo"], FORMATS["ytvis"]


def problems_of(read, *arguments) -> tuple[str, ...]:
    with pytest.raises(DatasetError) as caught:
        read(*arguments)
    return caught.value.problems


def yolo(folder, rows: str | bytes):
    annotations = write_yolo(folder / "labels")
    (annotations / "a.txt").write_bytes(rows.encode() if isinstance(rows, str) else rows)
    return draw(folder / "images"), annotations


WANTED = "a box is five numbers: class cx cy w h; a polygon is a class and three points or more"
SHARES = "is no share of the image's size. Divide x by its width and y by its height, in px."


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("0 nan 0.5 0.1 0.1", f"'nan' {SHARES}"),
        ("0 1e999 0.5 0.1 0.1", f"'1e999' {SHARES}"),
        ("0 20 10 5 5", f"'20' {SHARES}"),
        ("0 1 1 20 1 20 20", f"'20' {SHARES}"),
        ("inf 0.5 0.5 0.1 0.1", "class inf, but there are classes 0 to 1."),
        ("-1 0.5 0.5 0.1 0.1", "class -1, but there are classes 0 to 1."),
        (
            "0 0.5 0.5 0.1 0.1 0.9",
            f"'0 0.5 0.5 0.1 0.1 0.9': {WANTED}. Is the sixth a confidence? Drop it.",
        ),
        (
            "0 0 0 1 0 1 1 0.5",
            f"'0 0 0 1 0 1 1 0.5': {WANTED}, but this has an odd number of coordinates. "
            "Is the last a confidence?",
        ),
        ("0 0_1 0.5 0.1 0.1", f"'0 0_1 0.5 0.1 0.1': {WANTED}."),
        (
            "cat 0.5 0.5 0.1 0.1",
            f"'cat 0.5 0.5 0.1 0.1': {WANTED}. Is 'cat' a name? Write the number of its class, "
            "from 0.",
        ),
        (
            "imagesource:GoogleEarth",
            "this is DOTA text (eight corners, class, difficulty); use data=dota.",
        ),
        (
            "1 1 9 1 9 9 1 9 plane 0",
            "this is DOTA text (eight corners, class, difficulty); use data=dota.",
        ),
        (
            "Car 0.00 0 -1.58 587.01 173.33 614.12 200.12 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59",
            "this is KITTI text; convert it to COCO or YOLO.",
        ),
        (
            "684,8,273,116,0,0,0,0",
            "numbers are separated by commas, as in MOT and VisDrone; YOLO has blanks.",
        ),
        ('{"images": []}', "this is JSON; use data=coco."),
        ("<annotation>", "this is XML; use data=voc."),
    ],
)
def test_a_row_that_is_none_is_told_with_its_line(row, said, tmp_path):
    assert problems_of(YOLO.to_coco, *yolo(tmp_path, f"\n{row}\n")) == (f"a.txt, line 2: {said}",)


def test_a_label_file_in_another_encoding_is_named(tmp_path):
    said = problems_of(YOLO.to_coco, *yolo(tmp_path, b"0 0.5 0.5 0.1 0.1\n\xff\xfe\xfd"))
    assert said[0].startswith("a.txt: line 2: byte 0xff is not UTF-8. Save the file as UTF-8.")


def test_what_we_write_as_polygons_is_read_as_the_same_masks_parts_and_holes_included(tmp_path):
    images, annotations = draw(tmp_path / "images"), write_yolo(tmp_path / "labels")
    labeled = label(YOLO.to_coco(images, annotations))
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[2:20, 2:20] = mask[22:28, 30:38] = 1
    mask[6:12, 5:15] = 0
    from mal_core.geometry.masks import mask_to_rle

    labeled["annotations"][0]["segmentation"] = mask_to_rle(mask)
    YOLO.write_masks(labeled, annotations, images, tmp_path / "new")
    again = YOLO.to_coco(images, tmp_path / "new")
    assert len(again["annotations"]) == len(labeled["annotations"])
    for one, other in zip(labeled["annotations"], again["annotations"], strict=True):
        assert one["category_id"] == other["category_id"]
        rle = segmentation_to_rle(other["segmentation"], HEIGHT, WIDTH)
        assert rle_iou(one["segmentation"], rle) > 0.98
        assert other["area"] == segmentation_to_mask(rle, HEIGHT, WIDTH).sum()
    x, y, w, h = again["annotations"][0]["bbox"]
    assert (round(x), round(y), round(x + w), round(y + h)) == (2, 2, 38, 28)


def test_rows_of_polygons_and_boxes_together_are_counted(tmp_path):
    images, annotations = yolo(tmp_path, "0 0.1 0.1 0.6 0.1 0.6 0.6 0.1 0.6\n1 0.5 0.5 0.2 0.2\n")
    (annotations / "._a.txt").write_bytes(b"\0\5\x16\7")
    (annotations / "labels.cache").write_bytes(b"x")
    normal = YOLO.to_coco(images, annotations)
    assert ["segmentation" in one for one in normal["annotations"]] == [True, False, False]
    assert YOLO.notes(images, annotations, normal) == [
        f"2 files of {annotations}, such as '._a.txt', are not read: 1 .cache, 1 hidden.",
        "1 rows are polygons, 2 are boxes, such as a.txt, line 2.",
        "all 1 polygons have four corners: if they are rotated boxes (OBB), they are no masks; "
        "use data=yolo_obb.",
    ]


def voc(folder, old: str, new: str, encoding: str = "utf-8"):
    annotations = write_voc(folder / "Annotations")
    path = annotations / "a.xml"
    assert old in path.read_text()
    path.write_bytes(path.read_text().replace(old, new).encode(encoding))
    return draw(folder / "JPEGImages"), annotations


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "<xmin>5</xmin>",
            "<xmin>nan</xmin>",
            "a.xml: object 1 has bndbox/xmin='nan', which is no place in an image.",
        ),
        (
            "<xmin>5</xmin>",
            "<xmin>1e400</xmin>",
            "a.xml: object 1 has bndbox/xmin='1e400', which is no place in an image.",
        ),
        ("<name>cat</name>", "<name> </name>", "a.xml: object 1 has no <name>. Add its class."),
        (
            "annotation>",
            "annotations>",
            "a.xml: no VOC file, its root is <annotations>: this is CVAT XML; export it as "
            "COCO 1.0 or Pascal VOC.",
        ),
        (
            "annotation>",
            "x>",
            "a.xml: no VOC file, its root is <x>: give files of Pascal VOC.",
        ),
        (
            "<annotation>",
            "<!DOCTYPE a [<!ENTITY b 'c'>]><annotation>",
            "a.xml: declares entities, which no VOC file needs. Write them out.",
        ),
        ("<annotation>", "<annotation>\0", "a.xml: line 1 has a NUL character. Is it a text file?"),
        (
            "<filename>a.jpg",
            "<filename>b.jpg",
            "a.xml: its <filename> is 'b.jpg', but 'a.jpg' is called as the file is, and both are "
            "there: which is it of? Correct <filename>, or rename the file.",
        ),
    ],
)
def test_xml_that_cannot_be_used_is_told_with_its_file(old, new, said, tmp_path):
    assert problems_of(VOC.to_coco, *voc(tmp_path, old, new)) == (said,)


def test_a_rotated_box_is_no_box(tmp_path):
    said = problems_of(VOC.to_coco, *voc(tmp_path, "bndbox>", "robndbox>"))
    assert said[0] == "a.xml: object 1 has no <bndbox>, only <robndbox>. Add its box."


def test_names_in_a_declared_encoding_and_blanks_around_them(tmp_path):
    images, annotations = voc(tmp_path, "<name>cat</name>", "<name>\n 猫 </name>", "utf-16")
    names = [one["name"] for one in VOC.to_coco(images, annotations)["categories"]]
    assert names == ["dog", "猫"]


def test_subfolders_and_upper_case_are_read_and_the_rest_is_counted(tmp_path):
    images, annotations = draw(tmp_path / "images"), write_voc(tmp_path / "Annotations")
    (annotations / "deep").mkdir()
    (annotations / "b.xml").rename(annotations / "deep" / "b.XML")
    (annotations / "._a.xml").write_bytes(b"\0\5\x16\7")
    (annotations / "readme.md").write_text("x")
    normal = VOC.to_coco(images, annotations)
    assert [one["origin"] for one in normal["images"]] == ["a.xml", "deep/b.XML"]
    assert VOC.notes(images, annotations, normal) == [
        f"2 files of {annotations}, such as '._a.xml', are not read: 1 .md, 1 hidden."
    ]


@pytest.mark.parametrize("colors", [False, True])
def test_masks_that_we_wrote_for_voc_are_read_beside_annotations(colors, tmp_path):
    images, annotations = draw(tmp_path / "JPEGImages"), write_voc(tmp_path / "Annotations")
    labeled = label(VOC.to_coco(images, annotations))
    del labeled["annotations"][0]  # a skipped object keeps its number
    VOC.write_masks(labeled, annotations, images, tmp_path)
    if colors:
        for path in (tmp_path / "SegmentationObject").iterdir():
            Image.open(path).convert("RGB").save(path)
    again = VOC.to_coco(images, annotations)
    assert [one.get("segmentation") for one in again["annotations"]] == [
        None,
        *(one["segmentation"] for one in labeled["annotations"]),
    ]
    assert VOC.notes(images, annotations, again) == [
        f"2 of 3 objects have a mask in {tmp_path / 'SegmentationObject'}."
    ]
    assert tmp_path / "SegmentationObject" / "a.png" in VOC.files(images, annotations)


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (
            Image.new("L", (HEIGHT, WIDTH)),
            "SegmentationObject/a.png is 30 x 40 px, but its image 40 x 30 (width x height).",
        ),
        (
            Image.new("L", (WIDTH, HEIGHT), 7),
            "SegmentationObject/a.png has the index 7, but the XML file has 2 objects. Indices "
            "are the objects' places in it, from 1.",
        ),
        (
            Image.new("RGB", (WIDTH, HEIGHT), (1, 2, 3)),
            "SegmentationObject/a.png has the colour (1, 2, 3), which VOC's palette lacks.",
        ),
    ],
)
def test_a_mask_file_that_does_not_fit_is_refused(picture, said, tmp_path):
    images, annotations = draw(tmp_path / "JPEGImages"), write_voc(tmp_path / "Annotations")
    (tmp_path / "SegmentationObject").mkdir()
    picture.save(tmp_path / "SegmentationObject" / "a.png")
    assert problems_of(VOC.to_coco, images, annotations) == (said,)


def test_more_objects_than_a_palette_has_colours_return_in_16_bits(tmp_path):
    images, annotations = draw(tmp_path / "JPEGImages"), write_voc(tmp_path / "Annotations")
    one = "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin>"
    one += "<xmax>9</xmax><ymax>9</ymax></bndbox></object>"
    path = annotations / "a.xml"
    path.write_text(path.read_text().replace("</annotation>", one * 300 + "</annotation>"))
    normal = VOC.to_coco(images, annotations)
    last = [a for a in normal["annotations"] if a["image_id"] == 1][-1]
    assert last["object"] == 302
    mask = {"segmentation": [[0, 0, 9, 0, 9, 9, 0, 9]], "area": 81}
    VOC.write_masks({**normal, "annotations": [{**last, **mask}]}, annotations, images, tmp_path)
    again = [a for a in VOC.to_coco(images, annotations)["annotations"] if "segmentation" in a]
    assert [a["object"] for a in again] == [302]


TRACK = {"id": 1, "video_id": 1, "category_id": 1, "bboxes": [[1, 1, 5, 5]]}
VIDEO = {"id": 1, "width": 40, "height": 30, "file_names": ["a.jpg"]}


@pytest.mark.parametrize(
    ("key", "entry", "said"),
    [
        ("videos", 5, "video at position 1 (counted from 0) is no object. Correct or drop it."),
        ("videos", VIDEO, "video 1 occurs more than once. Give every video its own id."),
        (
            "videos",
            {**VIDEO, "id": 2, "file_names": [7]},
            "video 2 has file_names that are no texts. List its frames.",
        ),
        (
            "annotations",
            {**TRACK, "id": 2, "video_id": [1]},
            "annotation 2 has video_id=[1], but no sound video has that id.",
        ),
        ("annotations", TRACK, "annotation 1 occurs more than once. Give every track its own id."),
        (
            "annotations",
            {**TRACK, "id": 2, "note": float("nan")},
            "annotation 2 has a NaN or infinite number in note, which JSON does not allow. "
            "Correct or drop the value.",
        ),
    ],
)
def test_a_video_file_with_wrong_types_is_told(key, entry, said, tmp_path):
    content = {"videos": [VIDEO], "annotations": [TRACK], "categories": [{"id": 1, "name": "x"}]}
    content[key] = [*content[key], entry]
    path = write_json(tmp_path / "x.json", content)
    assert problems_of(YTVIS.to_coco, tmp_path, path) == (said,)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"image_id": [0]},
            "has image_id=[0], which the annotation file lacks. Write the id of an image of that "
            "file, or drop the entry.",
        ),
        (
            {"category_id": {}},
            "has category_id={}, which no category has. Write the id of a category of that file, "
            "or drop the entry.",
        ),
        (
            {"bbox": [0, 0, 1e300, 1]},
            "has bbox=[0, 0, 1e+300, 1], but it must be [x, y, width, height] in px.",
        ),
        ({"score": True}, "has score=True, but it must be a number."),
        (
            {"extra": float("inf")},
            "has a NaN or infinite number in extra, which JSON does not allow. Correct or drop "
            "the value.",
        ),
    ],
)
def test_a_detection_with_wrong_types_is_told(change, said, tmp_path):
    sound = {"image_id": 0, "category_id": 1, "bbox": [1, 1, 5, 5], "score": 0.5}
    path = write_json(tmp_path / "d.json", [{**sound, **change}])
    assert problems_of(detections_to_coco, path, coco()) == (
        f"detection 0 (counted from 0) {said}",
    )


def test_classes_of_another_format_are_matched_by_name():
    train, val = coco(), coco()
    val["categories"] = [
        {"id": 0, "name": "root"},
        {"id": 7, "name": "dog "},
        {"id": 9, "name": "cat"},
    ]
    for entry in val["annotations"]:
        entry["category_id"] = {1: 9, 2: 7}[entry["category_id"]]
    adopt_classes(train, val)
    assert [one["category_id"] for one in val["annotations"]] == [1, 2, 2]
    assert {one["id"]: one["name"] for one in val["categories"]} == {1: "cat", 2: "dog"}


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("labels/a.txt", "a.txt: is no regular file. Give a file."),
        ("Annotations/a.xml", "a.xml: is no regular file. Give a file."),
        (
            "SegmentationObject/a.png",
            "SegmentationObject/a.png is a pipe (FIFO), not a file. Give a file, or copy its "
            "content into one.",
        ),
    ],
)
def test_a_pipe_among_the_files_is_refused_not_waited_for(place, said, tmp_path):
    images, annotations = draw(tmp_path / "images"), write_voc_with_masks(tmp_path)
    labels = write_yolo(tmp_path / "labels")
    (tmp_path / place).unlink()
    os.mkfifo(tmp_path / place)
    kind, folder = (YOLO, labels) if place.startswith("labels") else (VOC, annotations)
    assert [*kind.files(images, folder)], "their digests are asked for first"
    assert problems_of(kind.to_coco, images, folder) == (said,)


def test_class_names_return_beside_the_polygons_as_they_were_written(tmp_path):
    images, annotations = draw(tmp_path / "images"), write_yolo(tmp_path / "labels")
    (annotations / "classes.txt").write_text("no\n1: 'ü'\n")
    labeled = label(YOLO.to_coco(images, annotations))
    YOLO.write_masks(labeled, annotations, images, tmp_path / "new")
    again = YOLO.to_coco(images, tmp_path / "new")
    assert again["categories"] == labeled["categories"]
