"""Loading photos as mmdet does, and finding images that cannot be used."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mal_core.data.images import loading as images_module
from mal_core.data.images.loading import image_problems, load_image
from mal_core.errors import DatasetError
from mal_core.types import ImageRecord
from tests.builders import write_coco

WIDTH, HEIGHT = 96, 64
ORIENTATION = 0x0112


def picture(mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 255, (8, 12, 3)), np.ones((8, 8, 1)))
    return Image.fromarray(blocks.astype(np.uint8)).convert(mode)


def record(name: str, width: int = WIDTH, height: int = HEIGHT, image_id: int = 1) -> ImageRecord:
    return ImageRecord(image_id=image_id, file_name=name, height=height, width=width)


def problems(path: Path, *, decode: bool = True, **size: int) -> list[str]:
    return image_problems(path.parent, [record(path.name, **size)], decode=decode)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("a.png", "RGB"),
        ("a.jpg", "RGB"),
        ("a.jpg", "L"),
        ("a.png", "L"),
        ("a.png", "LA"),
        ("a.png", "RGBA"),
        ("a.png", "P"),
        ("a.png", "1"),
        ("a.gif", "P"),
        ("a.jpg", "CMYK"),
        ("a.tif", "RGB"),
        ("a.webp", "RGB"),
        ("a.bmp", "RGB"),
    ],
)
def test_every_usual_kind_of_image_loads_as_rgb(tmp_path: Path, name: str, mode: str) -> None:
    picture(mode).save(tmp_path / name)
    assert problems(tmp_path / name) == []
    loaded = load_image(tmp_path / name)
    assert (loaded.shape, loaded.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
    with Image.open(tmp_path / name) as stored:
        expected = np.asarray(stored.convert("RGB")).astype(int)
    assert np.abs(loaded - expected).mean() <= 1  # CMYK rounds differently


def test_alpha_is_dropped_and_not_blended(tmp_path: Path) -> None:
    see_through = picture("RGBA")
    see_through.putalpha(10)
    see_through.save(tmp_path / "a.png")
    assert np.array_equal(load_image(tmp_path / "a.png"), np.asarray(picture()))


def test_sixteen_bits_are_cut_to_eight(tmp_path: Path) -> None:
    gray = np.asarray(picture("L"))
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "a.png")
    assert problems(tmp_path / "a.png") == []
    assert np.array_equal(load_image(tmp_path / "a.png")[..., 1], gray)


def test_pixels_equal_those_of_mmdets_loader(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", exif=rotated_exif(6))
    flags = cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_COLOR
    bgr = cv2.imdecode(np.frombuffer((tmp_path / "a.jpg").read_bytes(), np.uint8), flags)
    assert np.array_equal(load_image(tmp_path / "a.jpg"), bgr[..., ::-1])


@pytest.mark.parametrize(
    ("name", "mode", "expected"),
    [
        ("a.tif", "F", "32-bit float"),
        ("a.tif", "I", "32-bit integer"),
        ("a.tif", "LAB", "Lab"),
        ("a.ico", "RGB", "ICO"),
        ("a.tga", "RGB", "TGA"),
    ],
)
@pytest.mark.parametrize("decode", [True, False])
def test_what_opencv_cannot_read_is_refused_with_the_way_out(
    tmp_path: Path, name: str, mode: str, expected: str, decode: bool
) -> None:
    image = picture() if mode == "LAB" else picture(mode)
    if mode == "LAB":
        from PIL import ImageCms

        lab = ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(
            image, ImageCms.createProfile("sRGB"), lab, outputMode="LAB"
        )
    image = image.crop((0, 0, 48, 48))
    image.save(tmp_path / name, **({"sizes": [(48, 48)]} if name == "a.ico" else {}))
    (problem,) = problems(tmp_path / name, decode=decode, width=48, height=48)
    assert expected in problem
    assert "Convert it" in problem


@pytest.mark.parametrize(
    ("name", "mode", "options", "seen"),
    [
        ("a.tif", "RGB", {"compression": "zstd"}, "TIFF"),
        ("a.tif", "L", {"compression": "lzma"}, "TIFF"),
        ("a.jp2", "CMYK", {}, "JPEG2000"),
        ("a.pfm", "F", {"format": "PPM"}, "PPM"),
    ],
)
def test_what_pillow_decodes_and_opencv_does_not_is_refused_by_the_check(
    tmp_path: Path, name: str, mode: str, options: dict[str, str], seen: str
) -> None:
    picture(mode).save(tmp_path / name, **options)
    assert problems(tmp_path / name) == [
        f"image 1: {str(tmp_path / name)!r} is a {seen} file in a form that OpenCV cannot decode "
        f"({mode} pixels). Convert it to 8-bit PNG."
    ]


def rotated_exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_orientation_tag_is_ignored(tmp_path: Path, orientation: int) -> None:
    picture().save(tmp_path / "plain.jpg", quality=90)
    picture().save(tmp_path / "a.jpg", quality=90, exif=rotated_exif(orientation))
    assert problems(tmp_path / "a.jpg") == []
    assert np.array_equal(load_image(tmp_path / "a.jpg"), load_image(tmp_path / "plain.jpg"))


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_tiff_with_an_orientation_is_refused_as_readers_disagree(
    tmp_path: Path, orientation: int
) -> None:
    square = picture().crop((0, 0, 48, 48))
    square.save(tmp_path / "a.tif", tiffinfo={ORIENTATION: orientation})
    (problem,) = problems(tmp_path / "a.tif", width=48, height=48)
    assert "orientation tag" in problem


def test_a_size_that_fits_after_rotation_only_is_explained(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", exif=rotated_exif(6))
    (problem,) = problems(tmp_path / "a.jpg", width=HEIGHT, height=WIDTH)
    assert "EXIF" in problem
    assert "stored pixels" in problem


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (WIDTH + 1, HEIGHT), (WIDTH, HEIGHT - 1)])
def test_a_size_that_differs_from_the_files_is_refused(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    picture().save(tmp_path / "a.jpg")
    (problem,) = problems(tmp_path / "a.jpg", width=size[0], height=size[1])
    assert f"{WIDTH} x {HEIGHT} px" in problem
    assert f"{size[0]} x {size[1]}" in problem
    assert problem.startswith("image 1: ")
    assert "EXIF" not in problem


@pytest.mark.parametrize("content", [b"this is text", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
@pytest.mark.parametrize("decode", [True, False])
def test_a_file_that_is_no_image_is_refused(tmp_path: Path, content: bytes, decode: bool) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    (problem,) = problems(tmp_path / "a.jpg", decode=decode)
    assert "cannot be read as an image" in problem


@pytest.mark.parametrize("kind", ["jpeg", "progressive", "png", "webp", "gif", "bmp", "tiff"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_decoding_finds_truncated_files(tmp_path: Path, kind: str, share: float) -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (300, 400, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    noise.save(buffer, "jpeg" if kind == "progressive" else kind, progressive=kind == "progressive")
    whole = tmp_path / "whole"
    whole.write_bytes(buffer.getvalue())
    assert problems(whole, width=400, height=300) == []
    broken = tmp_path / "broken"
    broken.write_bytes(buffer.getvalue()[: int(share * len(buffer.getvalue()))])
    (problem,) = problems(broken, width=400, height=300)
    assert "cannot be read as an image" in problem


def test_a_jpeg_that_lost_its_last_bytes_is_found(tmp_path: Path) -> None:
    # OpenCV itself reads such a file without a word and fills the rest with grey.
    picture().save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[:-40])
    assert problems(tmp_path / "a.jpg", decode=False) == []
    assert "cannot be read" in problems(tmp_path / "a.jpg", decode=True)[0]


def test_a_missing_image_is_named_with_its_id(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    records = [record("a.png", image_id=4), record("sub/b.png", image_id=5)]
    (problem,) = image_problems(tmp_path, records, decode=False)
    assert problem.startswith("image 5: ")
    assert "sub/b.png" in problem
    assert "missing" in problem


def test_a_wrong_folder_is_suspected_when_no_image_is_there(tmp_path: Path) -> None:
    records = [record("a.png", image_id=4), record("b.png", image_id=5)]
    found = image_problems(tmp_path, records, decode=False)
    assert "Is it the right folder?" in found[0]
    assert [p.split(":")[0] for p in found[1:]] == ["image 4", "image 5"]


def test_a_missing_images_folder_is_one_problem(tmp_path: Path) -> None:
    (problem,) = image_problems(tmp_path / "none", [record("a"), record("b")], decode=False)
    assert "does not exist" in problem


@pytest.mark.parametrize("name", ["bad\0name.png", "x" * 5000, "\ud800.png"])
def test_impossible_file_names_are_problems_and_no_crash(tmp_path: Path, name: str) -> None:
    (problem,) = image_problems(tmp_path, [record(name)], decode=False)
    assert problem.startswith("image 1: ")
    problem.encode()  # printable


@pytest.mark.parametrize("name", ["/etc/a.png", "../a.png", "a/../../b.png", "..\\a.png"])
def test_file_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    files = write_coco(tmp_path)
    content = files.content()
    content["images"][0]["file_name"] = name
    files.rewrite(content)
    with pytest.raises(DatasetError, match=r"image 10 .*leaves the images folder"):
        files.read()


def test_two_dots_inside_a_name_are_fine(tmp_path: Path) -> None:
    files = write_coco(tmp_path)
    content = files.content()
    (files.images / "train" / "0.png").rename(files.images / "train" / "a..b.png")
    content["images"][0]["file_name"] = "train/a..b.png"
    files.rewrite(content)
    assert files.read().images[0].file_name == "train/a..b.png"


def test_images_the_file_does_not_list_are_not_looked_at(tmp_path: Path) -> None:
    files = write_coco(tmp_path)
    (files.images / "train" / "stray.png").write_bytes(b"no image")
    assert len(files.read(decode=True).images) == 3


def test_many_images_are_checked_in_order_with_a_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(images_module, "IMAGES_WORTH_A_BAR", 20)
    picture().save(tmp_path / "a.png")
    names = ["a.png" if i % 3 else f"{i}.png" for i in range(60)]
    records = [record(name, image_id=i) for i, name in enumerate(names)]
    with caplog.at_level("INFO"):
        found = image_problems(tmp_path, records, decode=True)
    assert [int(p.split(":")[0].split()[1]) for p in found] == list(range(0, 60, 3))
    assert "check images: 60/60" in caplog.text


def test_loading_an_absent_or_broken_photo_names_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none\.png.*\n.*does not exist"):
        load_image(tmp_path / "none.png")
    (tmp_path / "bad.png").write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"bad\.png.*\n.*cannot be decoded"):
        load_image(tmp_path / "bad.png")


def test_opencv_prints_nothing_of_its_own(tmp_path, capfd):
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DatasetError, match="cannot be decoded"):
        load_image(tmp_path / "a.tif")
    assert capfd.readouterr() == ("", "")


def test_a_file_in_place_of_the_folder_is_named_as_one(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK")
    (problem,) = image_problems(tmp_path / "a.zip", [], decode=False)
    assert problem.endswith(
        "a.zip is a file (an archive: unpack it). Give the folder that file names are relative to."
    )


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "the file is empty; copy it again"),
        (b"<!DOCTYPE html>", "this is a web page; download the file itself"),
        (b"version https://git-lfs.github.com/spec/v1",
         "this is a pointer of git LFS; run `git lfs pull` where it lies"),
        (b"\0\0\0\x18ftypheic", "this is HEIC; convert it to JPEG"),
        (b"\0\0\0\x18ftypmp42", "this is a video; cut images from it"),
        (b"\xff\x0a\x12", "this is JPEG XL; convert it to PNG"),
        (bytes(128) + b"DICM", "this is DICOM; convert it to PNG"),
    ],
)  # fmt: skip
def test_what_is_called_an_image_and_is_none_is_named(
    content: bytes, kind: str, tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    (problem,) = problems(tmp_path / "a.jpg")
    assert problem.endswith(f" is no image: {kind}.")


def test_a_folder_in_the_place_of_an_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").mkdir()
    assert problems(tmp_path / "a.jpg")[0].endswith(" is no image: a folder; give the image.")


def test_an_absent_photo_is_named_whatever_the_path_is_made_of(tmp_path):
    for path in (tmp_path / "nope.jpg", str(tmp_path / "nope.jpg")):
        with pytest.raises(
            DatasetError, match=r"nope\.jpg: 1 problem\n  - the image does not exist"
        ):
            load_image(path)


def test_what_is_larger_than_allowed_is_never_decoded(tmp_path, monkeypatch):
    """A file of a few bytes may say that it needs all memory there is."""
    picture().save(tmp_path / "a.png")
    decoded: list[object] = []
    monkeypatch.setattr(images_module, "check_pixels", lambda *given: decoded.append(given))
    (problem,) = image_problems(tmp_path, [record("a.png")], decode=True, max_pixels=1000)
    assert problem == (
        f"image 1: {str(tmp_path / 'a.png')!r} is 96 x 64 px = 6144 pixels, more than the 1,000 "
        "that data.max_image_pixels allows: cut it into tiles, or raise the limit."
    ).replace("6144", "6,144")
    assert decoded == []
    assert image_problems(tmp_path, [record("a.png")], decode=True, max_pixels=6144) == []
    assert len(decoded) == 1
