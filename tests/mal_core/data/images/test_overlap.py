"""The same photo in two lists is found, whatever became of the file; other photos are not."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mal_core.data.images.overlap import near_twins, same_files

Pixels = NDArray[np.uint8]


def photo(seed: int) -> Pixels:
    """A smooth random picture, shape (120, 160, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC), np.uint8)


def write(folder: Path, pictures: dict[str, Pixels], *options: int) -> list[str]:
    folder.mkdir(exist_ok=True)
    for name, pixels in pictures.items():
        cv2.imwrite(str(folder / name), pixels, list(options))
    return list(pictures)


VERSIONS: dict[str, Callable[[Pixels], Pixels]] = {
    "smaller": lambda p: np.asarray(cv2.resize(p, (80, 60), interpolation=cv2.INTER_AREA)),
    "brighter": lambda p: np.asarray(cv2.convertScaleAbs(p, alpha=0.9, beta=12)),
    "blurred": lambda p: np.asarray(cv2.GaussianBlur(p, (5, 5), 1)),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_another_version_of_a_photo_is_found(version: str, tmp_path: Path) -> None:
    train = write(tmp_path / "train", {f"{n}.png": photo(n) for n in range(12)})
    copies = {"copy.jpg": VERSIONS[version](photo(5)), "new.jpg": photo(99)}
    val = write(tmp_path / "val", copies, cv2.IMWRITE_JPEG_QUALITY, 60)
    (twin,) = near_twins((tmp_path / "train", train), (tmp_path / "val", val))
    assert (twin.first, twin.second, twin.exact) == ("5.png", "copy.jpg", False)
    assert 0.96 <= twin.correlation <= 1


def test_even_pictures_and_broken_files_are_no_twins(tmp_path: Path) -> None:
    grey = np.full((60, 80, 3), 128, np.uint8)
    train = write(tmp_path / "train", {"a.png": grey})
    val = [*write(tmp_path / "val", {"b.png": grey}), "absent.png", "broken.png"]
    (tmp_path / "val" / "broken.png").write_bytes(b"no image")
    assert near_twins((tmp_path / "train", train), (tmp_path / "val", val)) == []


def test_the_same_file_is_found_by_its_content() -> None:
    (twin,) = same_files({"a": "1", "b": "2"}, {"x": "2", "y": "3"})
    assert (twin.first, twin.second, twin.exact) == ("b", "x", True)
