"""Frames: which pixels boxes refer to, and turning them as EXIF says."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from mal_core.data.images.frames import frame_of, preferred, turned, turned_back
from mal_core.data.images.headers import ImageHeader

ORIENTATION_TAG = 0x0112


def header(orientation: int, size: tuple[int, int] = (6, 4)) -> ImageHeader:
    return ImageHeader(format="JPEG", mode="RGB", size=size, orientation=orientation, deep=False)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_turned_as_viewers_turn_them(orientation: int) -> None:
    stored = np.random.default_rng(0).integers(0, 255, (4, 6, 3)).astype(np.uint8)
    picture = Image.fromarray(stored)
    exif = picture.getexif()
    exif[ORIENTATION_TAG] = orientation
    picture.info["exif"] = exif.tobytes()
    shown = np.asarray(ImageOps.exif_transpose(picture))
    assert np.array_equal(turned(stored, orientation), shown)
    assert np.array_equal(turned_back(shown, orientation), stored)


@pytest.mark.parametrize(
    ("orientation", "stored", "stated", "verdict"),
    [
        (6, (6, 4), (4, 6), "shown"),
        (6, (6, 4), (6, 4), "stored"),
        (6, (6, 6), (6, 6), "either"),
        (3, (6, 4), (6, 4), "either"),
        (2, (6, 4), (6, 4), "either"),
        (3, (6, 4), (4, 6), "neither"),
        (8, (6, 4), (5, 6), "neither"),
    ],
)
def test_the_stated_size_tells_the_frame_where_it_can(
    orientation: int, stored: tuple[int, int], stated: tuple[int, int], verdict: str
) -> None:
    assert frame_of(header(orientation, stored), stated) == verdict


@pytest.mark.parametrize(
    ("setting", "verdicts", "frame"),
    [
        ("auto", [], "shown"),
        ("auto", ["stored", "either"], "stored"),
        ("auto", ["stored", "shown", "shown"], "shown"),
        ("auto", ["stored", "shown"], "shown"),
        ("stored", ["shown"], "stored"),
        ("shown", ["stored"], "shown"),
    ],
)
def test_images_whose_size_does_not_tell_follow_those_that_tell(
    setting: str, verdicts: list[str], frame: str
) -> None:
    assert preferred(setting, verdicts) == frame  # type: ignore[arg-type]
