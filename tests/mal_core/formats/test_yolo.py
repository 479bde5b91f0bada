"""YOLO: normalised boxes in, polygons out."""

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
    note = "1 rows have the class and box of another of their image."
    assert yolo_notes(images, labels, content)[-1] == note
    (labels / "a.txt").write_text("\u0660 0.5 0.5 0.\uff15 0.5")
    with pytest.raises(DatasetError, match=r"a\.txt, line 1: .*: a box is five numbers"):
        yolo_to_coco(images, labels)
