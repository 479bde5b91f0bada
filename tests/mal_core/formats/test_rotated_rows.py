"""DOTA and YOLO-OBB: rotated boxes in, as corners beside the box around them."""

from pathlib import Path

import pytest

from mal_core.data.coco import read_boxes
from mal_core.data.view import read_view
from mal_core.errors import DatasetError
from mal_core.formats import FORMATS
from mal_core.formats.normal import write_normal
from tests.mal_core.formats.drawn_formats import draw

DIAMOND = (20.0, 5.0, 30.0, 15.0, 20.0, 25.0, 10.0, 15.0)
OBB, DOTA = "yolo_obb", "dota"
SHARES = " ".join(f"{v / side:.9f}" for v, side in zip(DIAMOND, (40, 30) * 4, strict=True))
PX = " ".join(f"{v:g}" for v in DIAMOND)
ROWS = {OBB: f"1 {SHARES}", DOTA: f"{PX} ship 1"}


def write(folder: Path, kind: str, *rows: str) -> Path:
    labels = folder / "labels"
    labels.mkdir()
    (labels / "a.txt").write_text("".join(f"{row}\n" for row in rows))
    if kind == OBB:
        (labels / "classes.txt").write_text("plane\nship\n")
    return labels


@pytest.mark.parametrize("kind", [OBB, DOTA])
def test_corners_and_the_box_around_them_are_read(kind, tmp_path):
    images, labels = draw(tmp_path / "images"), write(tmp_path, kind, ROWS[kind])
    normal = FORMATS[kind].to_coco(images, labels)
    (entry,) = normal["annotations"]
    assert entry["rotated_box"] == pytest.approx(DIAMOND)
    assert entry["bbox"] == pytest.approx([10, 5, 20, 20])
    assert "segmentation" not in entry
    names = {one["id"]: one["name"] for one in normal["categories"]}
    assert names[entry["category_id"]] == "ship"
    path = tmp_path / "normal.json"
    write_normal(path, normal, labels, numbered=True)
    (box,) = read_boxes(images, path).boxes
    assert box.corners == pytest.approx(DIAMOND)
    assert box.area == pytest.approx(200)


def test_dotas_headers_are_no_objects_and_difficulty_stays(tmp_path):
    header = ["imagesource:GoogleEarth", "gsd:0.14"]
    labels = write(tmp_path, DOTA, *header, ROWS[DOTA], f"{PX} large-vehicle", "")
    normal = FORMATS[DOTA].to_coco(draw(tmp_path / "images"), labels)
    ship, vehicle = normal["annotations"]
    assert ship["difficult"] == 1
    assert "difficult" not in vehicle
    assert [one["name"] for one in normal["categories"]] == ["large-vehicle", "ship"]
    assert ship["origin"] == "a.txt, line 3"


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        (OBB, "1 0.5 0.5 0.2 0.2", "For boxes of five numbers use data=yolo."),
        (OBB, f"1 {SHARES} 0.9", "Is the tenth a confidence? Drop it."),
        (OBB, f"1 {PX}", "is no share of the image's size"),
        (OBB, f"2 {SHARES}", "class 2, but there are classes 0 to 1."),
        (OBB, ROWS[DOTA], "this is DOTA text (eight corners, class, difficulty); use data=dota."),
        (DOTA, f"1 {SHARES}", "for rows of numbers alone use data=yolo_obb."),
        (DOTA, "1 2 3 4 ship 0", "a row is x1 y1 x2 y2 x3 y3 x4 y4 class difficulty."),
        (DOTA, "nan 5 16 5 16 15 4 15 ship 0", "nan is no place in an image. Correct or drop the"),
        (DOTA, "4 5 16 5 16 1e300 4 15 ship", "1e300 is no place in an image. Correct or drop the"),
        (DOTA, f"{PX} large vehicle 0", "with a class of one word and a difficulty of 0, 1 or 2."),
        (DOTA, f"{PX} ship hard", "with a class of one word and a difficulty of 0, 1 or 2."),
    ],
)
def test_other_rows_are_refused_with_file_and_line(kind, row, message, tmp_path):
    labels = write(tmp_path, kind, ROWS[kind], row)
    with pytest.raises(DatasetError) as caught:
        FORMATS[kind].to_coco(draw(tmp_path / "images"), labels)
    (problem,) = caught.value.problems
    assert problem.startswith("a.txt, line 2: ")
    assert problem.endswith(message) or message in problem


def test_boxes_that_leave_the_image_are_counted(tmp_path):
    row = "-10 -8 30 12 25 22 -15 2 plane 0"
    images, labels = draw(tmp_path / "images"), write(tmp_path, DOTA, ROWS[DOTA], row)
    normal = FORMATS[DOTA].to_coco(images, labels)
    assert normal["annotations"][1]["bbox"] == [0, 0, 30, 22]
    path = tmp_path / "normal.json"
    write_normal(path, normal, labels, numbered=True)
    what = "rotated boxes reach over the border of their image: the part outside is left out"
    assert read_view(path).notes == {what: 1}


def test_four_cornered_polygons_of_yolo_are_named_as_what_they_may_be(tmp_path):
    images, labels = draw(tmp_path / "images"), write(tmp_path, OBB, ROWS[OBB])
    yolo = FORMATS["yolo"]
    notes = yolo.notes(images, labels, yolo.to_coco(images, labels))
    assert notes[-1].endswith("they are no masks; use data=yolo_obb.")


def test_a_file_as_a_folder_of_dota_is_refused(tmp_path):
    labels = write(tmp_path, DOTA, ROWS[DOTA])
    with pytest.raises(DatasetError, match="Give the folder of text files, labelTxt"):
        FORMATS[DOTA].to_coco(draw(tmp_path / "images"), labels / "a.txt")
