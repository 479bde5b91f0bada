"""Plans: what each image needs, what the user is told, and the pixels that come out."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mal_core.data.images.frames import turned
from mal_core.data.images.loading import load_image
from mal_core.data.images.plan import ImagePlan, plan_images, write_pixels
from mal_core.processes.records import from_json, to_json
from mal_core.types import ImageRecord
from tests.mal_core.data.images.test_headers import exif

WIDTH, HEIGHT = 60, 40


def pixels() -> NDArray[np.uint8]:
    coarse = np.random.default_rng(0).integers(0, 255, (5, 5, 3))
    blocks = np.kron(coarse, np.ones((8, 12, 1))).astype(np.uint8)
    return np.asarray(cv2.GaussianBlur(blocks, (5, 5), 2), dtype=np.uint8)


def plan(root: Path, *names: str, size: tuple[int, int] = (WIDTH, HEIGHT), **kwargs: Any):
    listed = [
        ImageRecord(image_id=i, file_name=name, width=size[0], height=size[1])
        for i, name in enumerate(names)
    ]
    wanted = {"orientation": "auto", "max_pixels": 10**9, **kwargs}
    return plan_images(root, listed, **wanted)


def written(root: Path, found: ImagePlan) -> NDArray[np.uint8]:
    (change,) = found.changes
    assert change.needs_pixels
    write_pixels(root, change, root / "out")
    as_it_is = cv2.imread(str(root / "out"), cv2.IMREAD_COLOR)
    result = load_image(root / "out")
    # No flag of a reader can change it any more.
    assert np.array_equal(as_it_is[..., ::-1], result)
    return result


def test_ordinary_images_need_nothing(tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.jpg")
    Image.fromarray(pixels()).save(tmp_path / "b.png", exif=exif(1))
    assert plan(tmp_path, "a.jpg", "b.png") == ImagePlan(changes=(), notes=())


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("suffix", ["png", "webp", "jpg", "tif"])
def test_a_size_that_fits_what_is_shown_turns_the_pixels(
    tmp_path: Path, orientation: int, suffix: str
) -> None:
    options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    if suffix == "tif":
        options["tiffinfo"] = exif(orientation)
    else:
        options["exif"] = exif(orientation)
    name = f"a.{suffix}"
    Image.fromarray(pixels()).save(tmp_path / name, **options)
    found = plan(tmp_path, name, size=(HEIGHT, WIDTH))
    assert found.notes == (
        f"1 images, such as {name!r}, have an EXIF orientation: by their sizes, the boxes of 1 "
        "were drawn on the photo as viewers show it, of 0 on the stored pixels",
    )
    stored = load_image(tmp_path / name) if suffix == "jpg" else pixels()
    difference = np.abs(written(tmp_path, found).astype(int) - turned(stored, orientation))
    assert difference.mean() <= (1.5 if suffix == "jpg" else 0)


def test_a_size_that_fits_the_stored_pixels_leaves_them(tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.jpg", exif=exif(6))
    found = plan(tmp_path, "a.jpg")
    assert found.changes == ()
    assert found.notes == (
        "1 images, such as 'a.jpg', have an EXIF orientation: by their sizes, the boxes of 0 were "
        "drawn on the photo as viewers show it, of 1 on the stored pixels",
    )


def test_a_tiff_in_the_stored_frame_is_written_as_stored(tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.tif", tiffinfo=exif(6))
    assert np.array_equal(written(tmp_path, plan(tmp_path, "a.tif")), pixels())


@pytest.mark.parametrize("frame", ["stored", "shown"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_gray_tiff_is_turned_whether_or_not_it_is_packed(
    tmp_path: Path, compression: str | None, frame: str
) -> None:
    gray = Image.fromarray(pixels()).convert("L")
    gray.save(tmp_path / "a.tif", tiffinfo=exif(6), compression=compression)
    wanted = np.asarray(gray.convert("RGB"))
    size = (WIDTH, HEIGHT) if frame == "stored" else (HEIGHT, WIDTH)
    found = written(tmp_path, plan(tmp_path, "a.tif", size=size))
    assert np.array_equal(found, wanted if frame == "stored" else turned(wanted, 6))


@pytest.mark.parametrize("orientation", [1, 6])
def test_colors_of_a_tiff_are_not_multiplied_by_its_alpha(tmp_path: Path, orientation: int) -> None:
    see_through = Image.fromarray(pixels()).convert("RGBA")
    see_through.putalpha(Image.linear_gradient("L").resize((WIDTH, HEIGHT)))
    see_through.save(tmp_path / "a.tif", tiffinfo=exif(orientation))
    if orientation == 1:  # what OpenCV would see
        assert load_image(tmp_path / "a.tif")[0].max() < pixels()[0].max() / 2
    assert np.array_equal(written(tmp_path, plan(tmp_path, "a.tif")), pixels())


@pytest.mark.parametrize(("suffix", "alpha"), [("tif", 255), ("png", 9)])
def test_an_alpha_that_changes_no_color_needs_nothing(
    tmp_path: Path, suffix: str, alpha: int
) -> None:
    solid = Image.fromarray(pixels()).convert("RGBA")
    solid.putalpha(alpha)
    solid.save(tmp_path / f"a.{suffix}")
    assert plan(tmp_path, f"a.{suffix}").changes == ()
    assert np.array_equal(load_image(tmp_path / f"a.{suffix}"), pixels())


AMBIGUOUS = (
    "1 images, such as 'a.png', have an EXIF orientation whose sizes do not tell which pixels the "
    "boxes were drawn on: taken as drawn on the photo as viewers show it; data.orientation=stored "
    "takes the stored pixels"
)


@pytest.mark.parametrize(
    ("setting", "notes"), [("auto", (AMBIGUOUS,)), ("shown", ()), ("stored", ())]
)
def test_half_a_turn_is_ambiguous_and_said_unless_the_user_has_said_it(
    tmp_path: Path, setting: str, notes: tuple[str, ...]
) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.png", exif=exif(3))
    found = plan(tmp_path, "a.png", orientation=setting)
    assert found.notes == notes
    if setting == "stored":
        assert found.changes == ()
    else:
        assert np.array_equal(written(tmp_path, found), turned(pixels(), 3))


def test_ambiguous_images_follow_those_of_their_file_that_tell(tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.png", exif=exif(6))
    Image.fromarray(pixels()).save(tmp_path / "b.png", exif=exif(3))
    found = plan(tmp_path, "a.png", "b.png")
    assert found.changes == ()
    assert "taken as drawn on the stored pixels" in found.notes[1]


def test_a_format_without_sizes_says_so(tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.png", exif=exif(6))
    found = plan(tmp_path, "a.png", size=(HEIGHT, WIDTH), sizes_stated=False)
    assert found.notes == (
        "1 images, such as 'a.png', have an EXIF orientation and the format states no sizes to "
        "tell which pixels the boxes were drawn on: taken as drawn on the photo as viewers show "
        "it; data.orientation=stored takes the stored pixels",
    )


def test_a_size_that_fits_neither_frame_is_left_to_the_check(tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.png", exif=exif(6))
    assert plan(tmp_path, "a.png", size=(30, 30)).changes == ()


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_values_of_fewer_bits_are_scaled_by_their_range(
    tmp_path: Path, bits: int, suffix: str
) -> None:
    gray = pixels()[..., 0].copy()
    gray[0, 0] = 255
    deep = (gray.astype(np.uint16) << (bits - 8)) + ((1 << (bits - 8)) - 1)
    cv2.imwrite(str(tmp_path / f"a.{suffix}"), deep)
    found = plan(tmp_path, f"a.{suffix}")
    assert found.notes == (
        f"1 images, such as 'a.{suffix}', use only a part of their 16-bit files (1 of {bits} "
        "bits): scaled to 8 bits by that range",
    )
    assert np.array_equal(written(tmp_path, found)[..., 1], gray)


def test_opaque_alpha_does_not_hide_the_range_of_the_colors(tmp_path: Path) -> None:
    deep = np.dstack([pixels().astype(np.uint16) << 4, np.full((HEIGHT, WIDTH), 65535)])
    cv2.imwrite(str(tmp_path / "a.png"), deep[..., [2, 1, 0, 3]].astype(np.uint16))
    assert np.array_equal(written(tmp_path, plan(tmp_path, "a.png")), pixels())


def test_sixteen_full_bits_are_left_as_they_are(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), pixels().astype(np.uint16) * 257)
    assert plan(tmp_path, "a.png") == ImagePlan(changes=(), notes=())


def test_bits_and_orientation_go_together(tmp_path: Path) -> None:
    deep = pixels()[..., 0].astype(np.uint16) << 4
    Image.fromarray(deep).save(tmp_path / "a.png", exif=exif(8))
    found = plan(tmp_path, "a.png", size=(HEIGHT, WIDTH))
    assert len(found.notes) == 2
    wanted = turned(np.repeat(pixels()[..., :1], 3, axis=2), 8)
    assert np.array_equal(written(tmp_path, found), wanted)


def test_found_names_are_counted_with_an_example(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    Image.fromarray(pixels()).save(tmp_path / "sub" / "a.jpg")
    Image.fromarray(pixels()).save(tmp_path / "b.jpg")
    found = plan(tmp_path, "sub\\a.jpg", "b", "c.jpg")
    assert [(one.name, one.file) for one in found.changes] == [
        ("sub\\a.jpg", "sub/a.jpg"),
        ("b", "b.jpg"),
    ]
    assert found.notes == (
        "2 images were found although the annotations spell their names differently "
        "(1 with backslashes for slashes, 1 with no extension), such as 'sub\\\\a.jpg' for "
        "'sub/a.jpg'",
    )


@pytest.mark.parametrize("names", [("p1.jpg", "P1.jpg"), ("x/p1", "y\\P1.JPG")])
def test_a_file_is_not_taken_for_two_names(tmp_path: Path, names: tuple[str, str]) -> None:
    Image.fromarray(pixels()).save(tmp_path / "p1.jpg")
    assert plan(tmp_path, *names).changes == ()


@pytest.mark.parametrize("name", ["/p1.jpg", "../p1.jpg", "..\\p1.jpg", "p1\0.jpg", "", "\udc80"])
def test_names_that_no_file_of_the_folder_can_have_find_none(tmp_path: Path, name: str) -> None:
    Image.fromarray(pixels()).save(tmp_path / "p1.jpg")
    assert plan(tmp_path, name).changes == ()


def test_plans_survive_their_json_form(tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.png", exif=exif(6))
    found = plan(tmp_path, "A.png", size=(HEIGHT, WIDTH))
    assert found.changes
    assert from_json(ImagePlan, to_json(found), "plan") == found


@pytest.mark.parametrize("suffix", ["gif", "tif", "webp", "png"])
def test_files_of_several_frames_are_counted(tmp_path: Path, suffix: str) -> None:
    first, second = Image.fromarray(pixels()), Image.fromarray(255 - pixels())
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=[second])
    first.save(tmp_path / f"b.{suffix}")
    assert plan(tmp_path, f"a.{suffix}", f"b.{suffix}").notes == (
        f"1 images have several frames or pages, such as 'a.{suffix}': the first is taken",
    )
