"""YOLO: normalised boxes in, polygons out."""

import sys

import numpy as np
import pytest

from mal_core.errors import DatasetError
from mal_core.formats import FORMATS
from mal_core.formats.yolo import yolo_notes, yolo_to_coco
from mal_core.geometry.masks import segmentation_to_mask
from mal_core.geometry.polygons import mask_to_polygon
from tests.mal_core.formats.drawn_formats import (
    EXPECTED,
    HEIGHT,
    OBJECTS,
    WIDTH,
    boxes_of,
    draw,
    label,
    masks,
    write_yolo,
)

YOLO = FORMATS["yolo"]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("classes.txt", "cat\ndog\n"),
        ("data.yaml", "names: [cat, dog]\n"),
        ("data.yaml", "train: images\nnames:\n  0: cat\n  1: dog\n"),
    ],
)
@pytest.mark.parametrize("above", [False, True])
def test_boxes_come_in_pixels_with_names(file, text, above, tmp_path):
    annotations = write_yolo(tmp_path / "labels")
    (annotations / "classes.txt").unlink()
    ((tmp_path if above else annotations) / file).write_text(text)
    assert boxes_of(YOLO.to_coco(draw(tmp_path / "images"), annotations)) == EXPECTED


def test_folders_below_are_followed_and_an_image_may_have_no_objects(tmp_path):
    annotations = write_yolo(tmp_path / "labels")
    (annotations / "val").mkdir()
    (annotations / "a.txt").rename(annotations / "val" / "a.txt")
    images = draw(tmp_path / "images", ("val/a.jpg", "b.jpg", "c.png"))
    normal = YOLO.to_coco(images, annotations)
    assert [entry["file_name"] for entry in normal["images"]] == ["b.jpg", "c.png", "val/a.jpg"]
    assert len(normal["annotations"]) == 3


def test_polygons_give_the_masks_back(tmp_path):
    images, annotations = draw(tmp_path / "images"), write_yolo(tmp_path / "labels")
    YOLO.write_masks(label(YOLO.to_coco(images, annotations)), annotations, images, tmp_path / "y")
    for picture, stem in enumerate("ab"):
        lines = (tmp_path / "y" / f"{stem}.txt").read_text().splitlines()
        inside = [(c, m) for (p, c, _), m in zip(OBJECTS, masks(), strict=True) if p == picture]
        assert len(lines) == len(inside)
        for line, (kind, mask) in zip(lines, inside, strict=True):
            words = line.split()
            assert int(words[0]) == kind
            points = np.array(words[1:], float).reshape(-1, 2) * [WIDTH, HEIGHT]
            drawn = segmentation_to_mask([points.ravel().tolist()], HEIGHT, WIDTH)
            assert np.array_equal(drawn, mask)


def test_parts_of_a_mask_are_joined_by_a_line_without_width():
    mask = np.zeros((30, 40), np.uint8)
    mask[2:10, 3:9] = mask[15:25, 20:38] = mask[27:29, 1:5] = 1
    polygon = mask_to_polygon(mask)
    drawn = segmentation_to_mask([polygon.ravel().tolist()], 30, 40)
    assert (drawn != mask).sum() <= 2


@pytest.mark.parametrize("pixels", [1, 2])
def test_a_mask_of_few_pixels_is_a_polygon_too(pixels):
    mask = np.zeros((8, 8), np.uint8)
    mask[3, 2 : 2 + pixels] = 1
    polygon = mask_to_polygon(mask)
    assert len(polygon) >= 3
    assert segmentation_to_mask([polygon.ravel().tolist()], 8, 8).sum() == pixels


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0 0.5 0.5 0.1", r"a\.txt, line 1: .* five numbers"),
        ("x 0.5 0.5 0.1 0.1", r"a\.txt, line 1: .* five numbers"),
        ("2 0.5 0.5 0.1 0.1", r"a\.txt, line 1: class 2, but there are classes 0 to 1"),
        ("0.5 0.5 0.5 0.1 0.1", r"a\.txt, line 1: class 0\.5"),
        ("2 0.5 0.5 0.1 0.1", r"there are classes 0 to 1\. Are they counted from 1 here\?$"),
        ("0 0.5 0.5 0.1 0.1 0.9", r"class cx cy w h; .* Is the sixth a confidence\? Drop it\.$"),
        ("0 0.9 0.5 0.6 0.3 0.3", r"class cx cy w h; .* Is the second a confidence\? Drop it\.$"),
        ("0.9 0 0.5 0.6 0.3 0.3", r"class cx cy w h; .* Is the first a confidence\? Drop it\.$"),
        ("0 0,5 0,5 0,1 0,1", r"line 1: '0,1' has a decimal comma; write numbers with a point\.$"),
        ("0 0.5 0.5 0.1 0.1 0.5 0.5 2", r"this is a pose, a box with key points; keep the first"),
        ("0 0.5 0.5 0.1 0.1 0.5 0.5 2 0 0 0", r"'2' is no share|this is a pose, a box with key"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(line, said, tmp_path):
    annotations = write_yolo(tmp_path / "labels")
    (annotations / "a.txt").write_text(f"{line}\n")
    with pytest.raises(DatasetError, match=said):
        YOLO.to_coco(draw(tmp_path / "images"), annotations)


def test_several_problems_come_together(tmp_path):
    annotations = write_yolo(tmp_path / "labels")
    (annotations / "z.txt").write_text("")
    (annotations / "classes.txt").unlink()
    images = draw(tmp_path / "images")
    (images / "b.jpg").write_text("no picture")
    with pytest.raises(DatasetError) as caught:
        YOLO.to_coco(images, annotations)
    message = str(caught.value)
    for said in ("z.txt has no image", "no class names", "b.jpg: cannot be read as an image"):
        assert said in message


@pytest.mark.parametrize("text", ["names: 5", "- a", "{"])
def test_names_that_are_no_names_are_refused(text, tmp_path):
    annotations = write_yolo(tmp_path / "labels")
    (annotations / "classes.txt").unlink()
    (annotations / "data.yaml").write_text(text)
    with pytest.raises(DatasetError, match=r"data\.yaml"):
        YOLO.to_coco(draw(tmp_path / "images"), annotations)


def test_doubled_rows_are_counted_and_digits_are_ascii(tmp_path):
    images, labels = draw(tmp_path / "images"), write_yolo(tmp_path / "labels")
    rows = (labels / "a.txt").read_text()
    (labels / "a.txt").write_text(rows + rows.splitlines()[0])
    content = yolo_to_coco(images, labels)
    note = "1 rows, such as a.txt, line 3, have the class and box of another of their image."
    assert yolo_notes(images, labels, content)[-1] == note
    (labels / "a.txt").write_text("\u0660 0.5 0.5 0.\uff15 0.5")
    with pytest.raises(DatasetError, match=r"a\.txt, line 1: .*: a box is five numbers"):
        yolo_to_coco(images, labels)


def rewrite(labels, change):
    """Every row of a folder, as another tool writes it: numbers -> words."""
    for path in labels.glob("?.txt"):
        rows = [list(map(float, row.split())) for row in path.read_text().splitlines()]
        path.write_text("".join(f"{' '.join(map(str, change(row)))}\n" for row in rows))


def corner_row(row):
    return [int(row[0]), row[1] - row[3] / 2, row[2] - row[4] / 2, *row[3:]]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda row: [*corner_row(row)[:3], row[1] + row[3] / 2, row[2] + row[4] / 2],
         "its 3 rows, the first is a.txt, line 1, would all fit their images as shares of "
         "[x1, y1, x2, y2], but YOLO wants those of [x_center, y_center, width, height], and read "
         "so some leave their images. If that is what they are, "
         "convert them."),
        (corner_row,
         "its 3 rows, the first is a.txt, line 1, would all fit their images as shares of "
         "[x, y, width, height], but YOLO wants those of [x_center, y_center, width, height], and "
         "read so some leave their images. If that is what they are, "
         "convert them."),
        (lambda row: [int(row[0]), *row[1:], 0.5, 0.5, 1, 0.2, 0.1, 0],
         "a.txt, line 1 and all other rows: this is a pose, a box with key points; keep the first "
         "five numbers of each row."),
        (lambda row: [int(row[0]), -0.2, 0.1, 0.5, 0.1, 0.5, 0.4, -0.2, 0.4],
         "all 3 rows have four corners, and 3 of them leave their images, the first is a.txt, line "
         "1: if they are rotated boxes (OBB), use data=yolo_obb."),
    ],
)  # fmt: skip
def test_rows_of_another_form_are_refused_in_one_sentence(change, problem, tmp_path):
    labels = write_yolo(tmp_path / "labels")
    rewrite(labels, change)
    with pytest.raises(DatasetError) as caught:
        YOLO.to_coco(draw(tmp_path / "images"), labels)
    assert caught.value.problems == (problem,)


def test_key_points_that_look_like_polygons_are_noted(tmp_path):
    images, labels = draw(tmp_path / "images"), write_yolo(tmp_path / "labels")
    rewrite(labels, lambda row: [int(row[0]), *row[1:], *(row[1:3] * 5)])
    notes = yolo_notes(images, labels, yolo_to_coco(images, labels))
    assert notes == [
        "all 3 polygons have 7 points that lie around the first as boxes with key points do: if "
        "they are poses, they are no masks; keep the first five numbers of each row."
    ]


def test_many_rows_that_look_like_key_points_are_poses(tmp_path):
    images, labels = draw(tmp_path / "images"), write_yolo(tmp_path / "labels")
    rewrite(labels, lambda row: [int(row[0]), *row[1:], *(row[1:3] * 5)])
    for path in labels.glob("?.txt"):
        path.write_text(path.read_text() * 5)
    with pytest.raises(DatasetError) as caught:
        yolo_to_coco(images, labels)
    assert caught.value.problems == (
        "all 15 rows have 7 points that lie around the first as boxes with key points do, the "
        "first is a.txt, line 1: this is a pose, a box with key points; keep the first five "
        "numbers of each row.",
    )


def turned(angle: float, *, skew: float = 0.0, px: bool = False) -> str:
    """Rows of a rectangle of 12 x 6 px around the middle, turned by degrees, as shares."""
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    corners = np.array([[-6, -3], [6 + skew, -3], [6, 3], [-6, 3]]) @ [[cos, sin], [-sin, cos]]
    corners += [WIDTH / 2, HEIGHT / 2]
    shares = (corners.round() if px else corners) / [WIDTH, HEIGHT]
    return "0 " + " ".join(f"{value:.6f}" for value in shares.ravel()) + "\n"


@pytest.mark.parametrize("px", [False, True])
def test_rows_of_turned_rectangles_are_rotated_boxes(px, tmp_path):
    images, labels = draw(tmp_path / "images"), write_yolo(tmp_path / "labels")
    (labels / "a.txt").write_text("".join(turned(angle, px=px) for angle in (0, 20, 45)))
    (labels / "b.txt").write_text("".join(turned(angle, px=px) for angle in (70, -35, 90)))
    with pytest.raises(DatasetError) as caught:
        yolo_to_coco(images, labels)
    assert caught.value.problems == (
        "all 6 rows have four corners of a rectangle, and many are turned, the first is a.txt, "
        "line 1: these are rotated boxes (OBB), and no masks. Use data=yolo_obb.",
    )
    assert len(FORMATS["yolo_obb"].to_coco(images, labels)["annotations"]) == 6


@pytest.mark.parametrize(
    "rows",
    [
        [turned(angle, skew=4) for angle in (0, 20, 45, 70, -35, 60)],
        [turned(0)] * 6,
        [*[turned(30)] * 5, "0 0.1 0.1 0.4 0.1 0.2 0.4\n"],
    ],
    ids=["skewed", "upright", "a triangle among them"],
)
def test_other_polygons_of_four_corners_are_masks(rows, tmp_path):
    images, labels = draw(tmp_path / "images"), write_yolo(tmp_path / "labels")
    (labels / "a.txt").write_text("".join(rows))
    (labels / "b.txt").unlink()
    assert all("segmentation" in one for one in yolo_to_coco(images, labels)["annotations"])


@pytest.mark.parametrize(
    ("name", "photo"),
    [
        ("A.txt", "a.jpg"),
        ("a.jpg.txt", "a.jpg"),
        ("a%20b.txt", "a b.jpg"),
        ("1a2b3c4d-a.txt", "a.jpg"),
        ("a\u0308.txt", "\u00e4.jpg"),
    ],
)
def test_label_files_are_found_in_other_spellings(name, photo, tmp_path):
    labels = write_yolo(tmp_path / "labels")
    (labels / "a.txt").rename(labels / name)
    images = draw(tmp_path / "images", (photo, "b.jpg"))
    content = yolo_to_coco(images, labels)
    assert len(content["annotations"]) == 3
    said = "1 label files are spelled otherwise than their images, such as"
    assert yolo_notes(images, labels, content) == [f"{said} {name!r} for {photo!r}."]


@pytest.mark.parametrize(
    ("photos", "problem"),
    [
        (("a.jpg", "a.png", "b.jpg"), "a.txt could be of a.jpg and of a.png. Keep one of the two."),
        (("a.heic", "b.jpg"),
         "a.txt has no image in IMAGES: 'a.heic' is no image that can be read. Convert it to PNG."),
        (("b.jpg",), "a.txt has no image in IMAGES. Add it, or move the file away."),
        (("c.jpg",),
         "none of the 2 label files, such as a.txt, has an image of its name in IMAGES. Give two "
         "folders with the same names in them, such as images/train and labels/train."),
    ],
)  # fmt: skip
def test_label_files_of_no_or_two_photos_are_refused(photos, problem, tmp_path):
    labels, images = write_yolo(tmp_path / "labels"), tmp_path / "images"
    for name in photos:
        draw(images, (f"{name}.png",))
        (images / f"{name}.png").rename(images / name)
    with pytest.raises(DatasetError) as caught:
        YOLO.to_coco(images, labels)
    assert caught.value.problems == (problem.replace("IMAGES", str(images)),)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: path.mkdir(),
         "no label files (*.txt) in it. Give the folder that has them."),
        (lambda path: path.write_text("a.jpg"),
         "is a file, no folder. Give the folder of label files, such as labels/train."),
        (lambda path: None,
         "does not exist. Give the folder of label files, such as labels/train."),
    ],
)  # fmt: skip
def test_what_is_no_folder_of_label_files_is_refused(make, problem, tmp_path):
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\n")
    make(tmp_path / "labels")
    with pytest.raises(DatasetError) as caught:
        YOLO.to_coco(draw(tmp_path / "images"), tmp_path / "labels")
    assert problem in caught.value.problems


def test_names_are_given_once(tmp_path):
    labels = write_yolo(tmp_path / "labels")
    (labels / "classes.txt").unlink()
    (labels / "data.yaml").write_text("names: [a, b]\nnames: [cat, dog]\n")
    with pytest.raises(DatasetError, match=r"data\.yaml: `names` occurs twice\. Keep one\.$"):
        YOLO.to_coco(draw(tmp_path / "images"), labels)


def test_a_label_file_that_is_a_link_to_nothing_is_called_that(tmp_path):
    labels = write_yolo(tmp_path / "labels")
    (labels / "a.txt").unlink()
    (labels / "a.txt").symlink_to("/gone/a.txt")
    with pytest.raises(DatasetError) as caught:
        YOLO.to_coco(draw(tmp_path / "images"), labels)
    assert caught.value.problems == (
        "a.txt: is a link to '/gone/a.txt', which is not there. Mend or remove it.",
    )


@pytest.mark.parametrize("name", ["train.txt", "valid.txt", "Test_list.TXT", "autosplit_train.txt"])
def test_a_list_of_photos_among_label_files_is_none_and_is_counted(name, tmp_path):
    folder = write_yolo(tmp_path / "all")
    draw(folder)
    (folder / name).write_text("data/all/a.jpg\r\n\n./all/b.jpg\n")
    content = YOLO.to_coco(folder, folder)
    assert boxes_of(content) == EXPECTED
    told = f"1 files of {folder}, such as {name!r}, are not read: 1 {name[-4:]}."
    assert yolo_notes(folder, folder, content) == [told]


def test_what_has_the_name_of_a_list_and_rows_is_of_a_photo_that_must_be_there(tmp_path):
    images, annotations = draw(tmp_path / "images"), write_yolo(tmp_path / "labels")
    (annotations / "train.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(DatasetError, match=r"train\.txt has no image in"):
        YOLO.to_coco(images, annotations)


opened: list[str] = []
sys.addaudithook(lambda event, found: opened.append(str(found[0])) if event == "open" else None)


def test_label_files_that_are_called_as_lists_are_are_opened_once(tmp_path):
    """Frames of videos are often called image_1.jpg, as darknet calls its lists."""
    annotations = write_yolo(tmp_path / "labels")
    for old, new in (("a", "image_1"), ("b", "val_2")):
        (annotations / f"{old}.txt").rename(annotations / f"{new}.txt")
    images = draw(tmp_path / "images", ("image_1.jpg", "val_2.jpg"))
    opened.clear()
    content = yolo_to_coco(images, annotations)
    assert yolo_notes(images, annotations, content) == []
    texts = sorted(name for name in opened if name.endswith(("image_1.txt", "val_2.txt")))
    assert texts == [str(annotations / "image_1.txt"), str(annotations / "val_2.txt")]
    assert len(content["annotations"]) == 3


def test_a_list_that_has_the_name_of_a_photo_is_no_label_file(tmp_path):
    annotations = write_yolo(tmp_path / "labels")
    (annotations / "train.txt").write_text("data/a.jpg\ndata/b.jpg\n")
    images = draw(tmp_path / "images", ("a.jpg", "b.jpg", "train.jpg"))
    content = yolo_to_coco(images, annotations)
    assert len(content["annotations"]) == 3
    (note,) = yolo_notes(images, annotations, content)
    assert note == f"1 files of {annotations}, such as 'train.txt', are not read: 1 .txt."
