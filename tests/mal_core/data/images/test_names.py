"""Names that are almost right: found where one file fits, and by what they differ."""

import os
import time
import unicodedata
from pathlib import Path

import pytest

from mal_core.data.images.names import ImageIndex

ACCENTED = "caf\u00e9 \u5bb6.jpg"
NFD = unicodedata.normalize("NFD", ACCENTED)


def index_of(root: Path, *files: str) -> ImageIndex:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"x")
    return ImageIndex(root)


@pytest.mark.parametrize(
    ("name", "file", "how"),
    [
        ("images\\p1.jpg", "images/p1.jpg", ["backslashes for slashes"]),
        ("my%20photo%231.jpg", "my photo#1.jpg", ["percent codes"]),
        ("my photo.jpg", "my%20photo.jpg", ["percent codes"]),
        (NFD, ACCENTED, ["another Unicode form"]),
        (ACCENTED, NFD, ["another Unicode form"]),
        ("P1.JPG", "p1.jpg", ["another letter case"]),
        ("Train/p1.jpg", "train/p1.jpg", ["another letter case"]),
        ("p1", "p1.jpg", ["no extension"]),
        ("IMG_2020.01.02", "IMG_2020.01.02.PNG", ["no extension"]),
        ("sub/p1", "sub/p1.webp", ["no extension"]),
        ("./p1.jpg", "p1.jpg", []),
        ("pictures/p1.jpg", "p1.jpg", ["other leading folders"]),
        ("upload/1/p1.jpg", "p1.jpg", ["other leading folders"]),
        ("p1.jpg", "deep/er/p1.jpg", ["other leading folders"]),
        ("1a2b3c4d-p1.jpg", "p1.jpg", ["a prefix of Label Studio's"]),
        (
            "images/1a2b3c4d-P1.jpg",
            "p1.jpg",
            ["other leading folders", "a prefix of Label Studio's", "another letter case"],
        ),
        (
            "C:\\Users\\Bob\\pictures\\P%201",
            "p 1.jpg",
            [
                "backslashes for slashes",
                "other leading folders",
                "no extension",
                "percent codes",
                "another letter case",
            ],
        ),
    ],
)
def test_a_name_means_the_one_file_that_fits(
    tmp_path: Path, name: str, file: str, how: list[str]
) -> None:
    index = index_of(tmp_path / "pictures", file, "else.jpg", "p10.jpg", "labels/p1.txt")
    found = index.find(name)
    assert found is not None
    assert (found.file, list(found.how)) == (file, how)


@pytest.mark.parametrize(
    ("name", "files", "fitting"),
    [
        ("p1", ["p1.jpg", "p1.png"], ["p1.jpg", "p1.png"]),
        ("p1.jpg", ["a/p1.jpg", "b/p1.jpg"], ["a/p1.jpg", "b/p1.jpg"]),
        ("P1.jpg", ["p1.JPG", "p1.jpg"], ["p1.JPG", "p1.jpg"]),
        ("p2.jpg", ["p1.jpg"], []),
        ("1a2b3c4-p1.jpg", ["p1.jpg"], []),
        ("1a2b3c4g-p1.jpg", ["p1.jpg"], []),
        ("p1.png", ["p1.jpg"], []),
        ("p1", ["p1.txt", "p1.xml"], []),
        ("train/p1.jpg", ["val/p1.jpg"], []),
        ("p1.jpg", [".p1.jpg", "._p1.jpg"], []),
    ],
)
def test_no_file_is_guessed(
    tmp_path: Path, name: str, files: list[str], fitting: list[str]
) -> None:
    index = index_of(tmp_path, *files)
    assert index.find(name) is None
    assert list(index.fitting(name)) == fitting


def test_the_file_that_differs_least_is_meant(tmp_path: Path) -> None:
    index = index_of(tmp_path, "a/p1.jpg", "a/P1.jpg")
    found = index.find("a\\p1.jpg")
    assert found is not None
    assert found.file == "a/p1.jpg"


@pytest.mark.parametrize(
    ("folder", "name", "is_found"),
    [
        ("val", "train/0.jpg", False),
        ("val2017", "train2017/0.jpg", False),
        ("val", "val/0.jpg", True),
        ("photos", "train/0.jpg", True),
    ],
)
def test_leading_folders_of_another_split_do_not_lead_into_this_one(
    tmp_path: Path, folder: str, name: str, is_found: bool
) -> None:
    index = index_of(tmp_path / "test_drive" / folder, "0.jpg")
    assert (index.find(name) is not None) == is_found


@pytest.mark.parametrize(
    ("name", "closest"),
    [
        ("images/IMG_0017.jpeg", "IMG_0017.jpg"),
        ("IMG-0017.jpg", "IMG_0017.jpg"),
        ("xIMG_0017.jpg", "IMG_0017.jpg"),
        ("nothing alike", None),
    ],
)
def test_the_closest_existing_name_is_told(tmp_path: Path, name: str, closest: str | None) -> None:
    assert index_of(tmp_path, "IMG_0017.jpg", "zebra.png").closest(name) == closest


def test_links_to_folders_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    index_of(tmp_path / "elsewhere", "p1.jpg")
    root = tmp_path / "root"
    root.mkdir()
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "circle").symlink_to(root)
    assert ImageIndex(root).files == ["linked/p1.jpg"]


def test_pipes_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p1.jpg")
    assert ImageIndex(tmp_path).files == []


def test_looking_names_up_does_not_grow_with_names_times_files(tmp_path: Path) -> None:
    index = index_of(tmp_path, *(f"{n:06d}.jpg" for n in range(2000)))
    started = time.process_time()
    for n in range(2000):
        assert index.find(f"images\\{n:06d}.JPG") is not None
        assert index.closest(f"{n:06d}.jpeg") is not None
    assert time.process_time() - started < 60  # a scan of all files for each name takes minutes
