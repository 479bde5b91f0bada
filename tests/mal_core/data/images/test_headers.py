"""Headers: orientation and depth of every kind of file, and what is no file."""

import os
import socket
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mal_core.data.images.headers import NotAFileError, read_header, require_file

ORIENTATION_TAG = 0x0112


def exif(orientation: object) -> Image.Exif:
    tags = Image.Exif()
    tags[ORIENTATION_TAG] = orientation
    return tags


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_is_read_and_the_size_is_that_of_the_stored_pixels(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    Image.new("RGB", (6, 4)).save(tmp_path / f"a.{suffix}", exif=exif(orientation))
    header = read_header(tmp_path / f"a.{suffix}")
    assert (header.size, header.orientation) == ((6, 4), orientation)
    assert header.shown_size == ((4, 6) if orientation > 4 else (6, 4))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_that_pillow_turns_has_its_stored_size(tmp_path: Path, orientation: int) -> None:
    Image.new("RGB", (6, 4)).save(tmp_path / "a.tif", tiffinfo={ORIENTATION_TAG: orientation})
    header = read_header(tmp_path / "a.tif")
    assert (header.size, header.orientation) == ((6, 4), orientation)


@pytest.mark.parametrize("value", [0, 9, 77])
def test_an_orientation_that_does_not_exist_turns_nothing(tmp_path: Path, value: int) -> None:
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", exif=exif(value))
    assert read_header(tmp_path / "a.jpg").orientation == 1


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_broken_exif_block_turns_nothing(tmp_path: Path) -> None:
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*broken")
    assert read_header(tmp_path / "a.jpg").orientation == 1


@pytest.mark.parametrize(
    ("name", "channels", "depth", "deep"),
    [
        ("a.png", 1, np.uint16, True),
        ("a.png", 3, np.uint16, True),
        ("a.png", 4, np.uint16, True),
        ("a.tif", 1, np.uint16, True),
        ("a.tif", 3, np.uint16, True),
        ("a.pgm", 1, np.uint16, True),
        ("a.ppm", 3, np.uint16, True),
        ("a.jp2", 3, np.uint16, True),
        ("a.png", 3, np.uint8, False),
        ("a.tif", 1, np.uint8, False),
        ("a.ppm", 3, np.uint8, False),
        ("a.jpg", 3, np.uint8, False),
    ],
)
def test_files_of_more_than_eight_bits_are_known(
    tmp_path: Path, name: str, channels: int, depth: type, deep: bool
) -> None:
    shape = (40, 60, channels) if channels > 1 else (40, 60)
    cv2.imwrite(str(tmp_path / name), np.full(shape, 100, depth))
    assert read_header(tmp_path / name).deep == deep


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (6, 4)).save(path)
    assert read_header(path).size == (6, 4)
    Image.new("RGB", (60, 44)).save(path)
    os.utime(path, ns=(time.time_ns(), time.time_ns()))
    assert read_header(path).size == (60, 44)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.png"))
        for name, kind in (
            (tmp_path / "pipe.png", "a pipe"),
            (tmp_path / "socket.png", "a socket"),
            (Path("/dev/zero"), "a device"),
        ):
            for read in (read_header, require_file):
                with pytest.raises(NotAFileError, match=f"is {kind}.*, not a file. Give a file"):
                    read(name)


def test_a_photo_larger_than_pillow_likes_is_read_without_a_word(tmp_path: Path) -> None:
    Image.new("1", (20_000, 10_000)).save(tmp_path / "a.png")
    assert read_header(tmp_path / "a.png").size == (20_000, 10_000)
