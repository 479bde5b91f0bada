"""Folders of another format or of other parents are named as what they are; links are followed."""

from functools import partial
from pathlib import Path

import pytest

from mal_core.data.view import read_view
from mal_core.errors import DatasetError
from mal_core.formats import FORMATS
from tests.mal_core.formats.drawn_formats import boxes_of, draw, write_yolo

XML = "it has 2 .xml files: for those of Pascal VOC use data=voc"
TXT = "it has 2 .txt files: for rows of YOLO use data=yolo or data=yolo_obb, for DOTA's data=dota"
JSON = (
    "it has 2 .json files: give one COCO file; what has a JSON file per image is to be exported as "
    "COCO"
)
NO_FILE = "cannot be read: it is a folder, and a file is wanted"
NO_ROWS = "no label files (*.txt) in it"
GIVE = "Give the folder `Annotations`, or a list in ImageSets."


@pytest.mark.parametrize(
    ("name", "suffix", "said"),
    [
        ("coco", ".xml", f"{NO_FILE}; {XML}."),
        ("coco", ".txt", f"{NO_FILE}; {TXT}."),
        ("coco", ".json", f"{NO_FILE}; {JSON}."),
        ("coco", ".png", f"{NO_FILE}."),
        ("yolo", ".XML", f"{NO_ROWS}; {XML}."),
        ("yolo_obb", ".json", f"{NO_ROWS}; {JSON}."),
        ("dota", ".xml", f"{NO_ROWS}; {XML}."),
        ("voc", ".txt", f"no XML files; {TXT}. {GIVE}"),
        ("voc", ".json", f"no XML files; {JSON}. {GIVE}"),
    ],
)
def test_a_folder_of_another_format_is_named(
    name: str, suffix: str, said: str, tmp_path: Path
) -> None:
    images, folder = draw(tmp_path / "images"), tmp_path / "labels" / "below"
    folder.mkdir(parents=True)
    for file in ("a", "b", "._a"):
        (folder / f"{file}{suffix}").write_text("{}")
    read = read_view if name == "coco" else partial(FORMATS[name].read, images)
    arguments = [tmp_path / "labels", *([] if name == "coco" else ["auto"])]
    with pytest.raises(DatasetError) as caught:
        read(*arguments)
    assert caught.value.problems == (said,)


def test_links_to_folders_of_photos_and_labels_are_followed(tmp_path: Path) -> None:
    images, annotations = draw(tmp_path / "images", ("a.jpg",)), write_yolo(tmp_path / "labels")
    (tmp_path / "disk").mkdir()
    (annotations / "b.txt").rename(tmp_path / "disk" / "b.txt")
    draw(tmp_path / "disk", ("b.jpg",))
    for folder in (images, annotations):
        (folder / "more").symlink_to(tmp_path / "disk")
    normal = FORMATS["yolo"].to_coco(images, annotations)
    assert boxes_of(normal)[2][0] == "more/b.jpg"
    assert len(normal["annotations"]) == 3


@pytest.mark.parametrize(
    ("photos", "labels"), [("", ""), ("", "train/labels"), ("train/images", ""), ("train", "train")]
)
def test_folders_of_other_parents_are_told_with_those_that_fit(
    photos: str, labels: str, tmp_path: Path
) -> None:
    images = draw(tmp_path / "train" / "images")
    own = write_yolo(tmp_path / "train" / "labels")
    (own / "classes.txt").rename(tmp_path / "classes.txt")
    with pytest.raises(DatasetError) as caught:
        FORMATS["yolo"].to_coco(tmp_path / photos, tmp_path / labels)
    assert caught.value.problems == (
        f"no label file lies where its image does below {tmp_path / photos}, but those of {own} "
        f"have names of images of {images}. Give these two folders.",
    )
    assert len(FORMATS["yolo"].to_coco(images, own)["annotations"]) == 3


@pytest.mark.parametrize("name", ["yolo", "yolo_obb", "dota"])
def test_photos_that_nobody_reads_are_counted(name: str, tmp_path: Path) -> None:
    images, own = draw(tmp_path / "images"), tmp_path / "labels"
    own.mkdir()
    (own / "data.yaml").write_text("names: [cat, dog]\n")
    row = {"yolo": "0 0.5 0.5 0.2 0.2", "yolo_obb": "0 0.1 0.1 0.3 0.1 0.3 0.4 0.1 0.4"}
    (own / "a.txt").write_text(row.get(name, "4 5 24 5 24 21 4 21 plane 0") + "\n")
    (images / "deep").mkdir()
    for photo in ("c.HEIC", "deep/d.heic", "e.dng"):
        (images / photo).write_bytes(b"x")
    format_ = FORMATS[name]
    notes = format_.notes(images, own, format_.to_coco(images, own))
    assert (
        f"3 photos of {images}, such as 'c.HEIC', are of kinds that are not read (1 .dng, 2 .heic):"
        " convert them to PNG or JPEG."
    ) in notes
