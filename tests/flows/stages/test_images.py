"""Photos as users' exports name and store them: read right, with a note, or refused in one line."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from flows.settings import composing
from flows.stages import images as image_stage
from flows.stages import inputs
from flows.stages.run import Run
from flows.store import contents
from flows.store.local import damage
from mal_core.data.images.loading import load_image
from mal_core.errors import DatasetError

WIDTH, HEIGHT = 60, 40
ORIENTATION_TAG = 0x0112
Json = dict[str, Any]


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def draw(path: Path, orientation: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    picture = Image.fromarray(pixels())
    picture.save(path, exif=exif) if orientation != 1 else picture.save(path)


def coco(path: Path, *names: str, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    content = {
        "images": [
            {"id": i, "file_name": name, "width": size[0], "height": size[1]}
            for i, name in enumerate(names, start=1)
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [2, 3, 20, 10], "iscrowd": 0}
            for i, _ in enumerate(names, start=1)
        ],
        "categories": [{"id": 1, "name": "thing"}],
    }
    path.write_text(json.dumps(content))
    return path


def voc(folder: Path, filename: str, *, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    folder.mkdir()
    (folder / "p1.xml").write_text(
        f"<annotation><filename>{filename}</filename><size><width>{size[0]}</width>"
        f"<height>{size[1]}</height></size><object><name>thing</name><bndbox><xmin>3</xmin>"
        "<ymin>4</ymin><xmax>20</xmax><ymax>12</ymax></bndbox></object></annotation>"
    )
    return folder


def yolo(folder: Path) -> Path:
    folder.mkdir()
    (folder / "classes.txt").write_text("thing\n")
    (folder / "p1.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    return folder


def opened(tmp_path: Path, images: Path, annotations: Path, *overrides: str) -> Run:
    return Run(
        composing.compose(
            [
                f"data.train.images={images}",
                f"data.train.annotations={annotations}",
                f"workdir={tmp_path / 'work'}",
                f"store={tmp_path / 'store'}",
                *overrides,
            ]
        )
    )


def notes(run: Run) -> list[str]:
    return list(inputs.read_check(inputs.check(run, need_val=False))["notes"][1:])


def problems(run: Run) -> list[str]:
    with pytest.raises(DatasetError) as caught:
        inputs.check(run, need_val=False)
    return list(caught.value.problems)


def test_ordinary_images_are_read_where_they_are(tmp_path: Path) -> None:
    draw(tmp_path / "photos" / "p1.jpg")
    run = opened(tmp_path, tmp_path / "photos", coco(tmp_path / "a.json", "p1.jpg"))
    assert notes(run) == []
    assert inputs.inputs(run).train.images == tmp_path / "photos"
    assert not list((tmp_path / "store" / "images").rglob("*.png"))


NAME_NOTES = [
    ("images\\p1.jpg", "images/p1.jpg", "backslashes for slashes"),
    ("p%201.jpg", "p 1.jpg", "percent codes"),
    ("cafe\u0301.jpg", "caf\u00e9.jpg", "another Unicode form"),
    ("caf\u00e9.jpg", "cafe\u0301.jpg", "another Unicode form"),
    ("p1.JPG", "p1.jpg", "another letter case"),
    ("p1", "p1.jpg", "no extension"),
    ("photos/p1.jpg", "p1.jpg", "other leading folders"),
    ("p1.jpg", "day 1/p1.jpg", "other leading folders"),
]


@pytest.mark.parametrize(("name", "file", "way"), NAME_NOTES)
@pytest.mark.parametrize("format_name", ["coco", "voc"])
def test_an_image_of_another_spelling_is_found_and_counted(
    tmp_path: Path, name: str, file: str, way: str, format_name: str
) -> None:
    draw(tmp_path / "photos" / file)
    made = (
        coco(tmp_path / "a.json", name)
        if format_name == "coco"
        else voc(tmp_path / "Annotations", name)
    )
    run = opened(tmp_path, tmp_path / "photos", made, f"data={format_name}")
    assert notes(run) == [
        "training images: 1 images were found although the annotations spell their names "
        f"differently (1 with {way}), such as {name!r} for {file!r}"
    ]
    train = inputs.inputs(run).train
    (listed,) = json.loads(train.annotations.read_text())["images"]
    assert listed["file_name"] == name  # labels return under the user's own name
    assert np.array_equal(load_image(train.images / name), load_image(tmp_path / "photos" / file))


MISSING = [
    ("q1.jpg", ["p1.jpg"], "; the closest existing file is 'p1.jpg'"),
    ("p1.png", ["p1.jpg"], "; the closest existing file is 'p1.jpg'"),
    ("p1", ["p1.jpg", "p1.png"], "; 2 files could be meant, such as 'p1.jpg' and 'p1.png'"),
    ("p1.jpg", ["a/p1.jpg", "b/p1.jpg"], "; 2 files could be meant, such as 'a/p1.jpg' and "
     "'b/p1.jpg'"),
    ("something else.jpg", ["p1.png"], ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "files", "hint"), MISSING)
@pytest.mark.parametrize("format_name", ["coco", "voc"])
def test_a_name_that_fits_no_single_file_is_refused_by_its_own_entry(
    tmp_path: Path, name: str, files: list[str], hint: str, format_name: str
) -> None:
    for file in files:
        draw(tmp_path / "photos" / file)
    made = (
        coco(tmp_path / "a.json", name)
        if format_name == "coco"
        else voc(tmp_path / "Annotations", name)
    )
    entry = "image 1"
    if format_name == "voc":  # a photo called as its file would be taken
        entry = "other.xml"
        (made / "p1.xml").rename(made / entry)
    run = opened(tmp_path, tmp_path / "photos", made, f"data={format_name}")
    assert problems(run) == [
        f"{entry}: {str(tmp_path / 'photos' / name)!r} is missing{hint}. "
        "Add the file or drop the image."
    ]


def test_one_missing_name_among_found_ones_is_told_with_the_users_folder(tmp_path: Path) -> None:
    draw(tmp_path / "photos" / "p1.jpg")
    made = coco(tmp_path / "a.json", "P1.jpg", "p2.jpg")
    assert problems(opened(tmp_path, tmp_path / "photos", made)) == [
        f"image 2: {str(tmp_path / 'photos' / 'p2.jpg')!r} is missing; the closest existing file "
        "is 'p1.jpg'. Add the file or drop the image."
    ]


def test_a_missing_frame_of_a_video_is_named_as_its_file_does(tmp_path: Path) -> None:
    draw(tmp_path / "photos" / "v" / "0.jpg")
    names = ["v/0.jpg", "v/1.jpg"]
    content = {
        "videos": [{"id": 4, "width": WIDTH, "height": HEIGHT, "file_names": names}],
        "annotations": [{"id": 1, "video_id": 4, "category_id": 1, "bboxes": [[2, 3, 9, 8], None]}],
        "categories": [{"id": 1, "name": "thing"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    run = opened(tmp_path, tmp_path / "photos", tmp_path / "a.json", "data=ytvis")
    assert problems(run) == [
        f"video 4, frame 1: {str(tmp_path / 'photos' / 'v' / '1.jpg')!r} is missing; the closest "
        "existing file is 'v/0.jpg'. Add the file or drop the image."
    ]


def test_a_file_that_appears_is_found_by_the_next_run(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    made = coco(tmp_path / "a.json", "p1")
    problems(opened(tmp_path, tmp_path / "photos", made))
    draw(tmp_path / "photos" / "p1.jpg")
    assert len(notes(opened(tmp_path, tmp_path / "photos", made))) == 1


TOLD = (
    "training images: 1 images, such as 'p1.png', have an EXIF orientation: by their sizes, the "
    "boxes of {} were drawn on the photo as viewers show it, of {} on the stored pixels"
)
UNTOLD = (
    "training images: 1 images, such as 'p1.png', have an EXIF orientation {} which pixels the "
    "boxes were drawn on: taken as drawn on {}; data.orientation={}"
)
SHOWN = ("the photo as viewers show it", "stored takes the stored pixels")
STATED, UNSTATED = "whose sizes do not tell", "and the format states no sizes to tell"
TURNED = (HEIGHT, WIDTH)
AS_STORED = (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("format_name", "orientation", "size", "setting", "said", "is_turned"),
    [
        ("coco", 6, TURNED, "auto", TOLD.format(1, 0), True),
        ("coco", 6, TURNED, "stored", TOLD.format(1, 0), True),
        ("coco", 8, AS_STORED, "auto", TOLD.format(0, 1), False),
        ("coco", 8, AS_STORED, "shown", TOLD.format(0, 1), False),
        ("voc", 5, TURNED, "auto", TOLD.format(1, 0), True),
        ("voc", 7, AS_STORED, "auto", TOLD.format(0, 1), False),
        ("coco", 3, AS_STORED, "auto", UNTOLD.format(STATED, *SHOWN), True),
        ("coco", 3, AS_STORED, "stored", None, False),
        ("voc", 2, AS_STORED, "auto", UNTOLD.format(STATED, *SHOWN), True),
        ("yolo", 6, TURNED, "auto", UNTOLD.format(UNSTATED, *SHOWN), True),
        ("yolo", 6, AS_STORED, "stored", None, False),
        ("yolo", 3, AS_STORED, "auto", UNTOLD.format(UNSTATED, *SHOWN), True),
        ("yolo", 3, AS_STORED, "stored", None, False),
    ],
)
def test_boxes_and_pixels_are_in_one_frame_and_the_user_is_told_which(
    tmp_path: Path,
    format_name: str,
    orientation: int,
    size: tuple[int, int],
    setting: str,
    said: str | None,
    is_turned: bool,
) -> None:
    draw(tmp_path / "photos" / "p1.png", orientation)
    make: dict[str, Callable[[], Path]] = {
        "coco": lambda: coco(tmp_path / "a.json", "p1.png", size=size),
        "voc": lambda: voc(tmp_path / "Annotations", "p1.png", size=size),
        "yolo": lambda: yolo(tmp_path / "labels"),
    }
    chosen = f"data={format_name}", f"data.orientation={setting}"
    run = opened(tmp_path, tmp_path / "photos", make[format_name](), *chosen)
    assert notes(run) == ([] if said is None else [said])
    train = inputs.inputs(run).train
    loaded = load_image(train.images / "p1.png")
    (listed,) = json.loads(train.annotations.read_text())["images"]
    assert (listed["width"], listed["height"]) == size == loaded.shape[1::-1]
    assert np.array_equal(loaded, pixels()) != is_turned


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_a_photo_of_fewer_bits_is_not_black(tmp_path: Path, bits: int) -> None:
    (tmp_path / "photos").mkdir()
    gray = pixels()[..., 0].copy()
    gray[0, 0] = 255
    cv2.imwrite(str(tmp_path / "photos" / "p1.png"), gray.astype(np.uint16) << (bits - 8))
    run = opened(tmp_path, tmp_path / "photos", coco(tmp_path / "a.json", "p1.png"))
    assert notes(run) == [
        "training images: 1 images, such as 'p1.png', use only a part of their 16-bit files "
        f"(1 of {bits} bits): scaled to 8 bits by that range"
    ]
    loaded = load_image(inputs.inputs(run).train.images / "p1.png")
    assert np.array_equal(loaded[..., 1], gray)


def test_a_photo_above_the_limit_is_refused_with_the_way_out_and_a_setting_moves_it(
    tmp_path: Path,
) -> None:
    draw(tmp_path / "photos" / "p1.jpg")
    made = coco(tmp_path / "a.json", "p1.jpg")
    run = opened(tmp_path, tmp_path / "photos", made, "data.max_image_pixels=2399")
    assert problems(run) == [
        f"image 1: {str(tmp_path / 'photos' / 'p1.jpg')!r} is 60 x 40 px = 2,400 pixels, more than "
        "the 2,399 that data.max_image_pixels allows: cut it into tiles, or raise the limit."
    ]
    assert notes(opened(tmp_path, tmp_path / "photos", made, "data.max_image_pixels=2400")) == []


def test_a_photo_of_400_megapixels_is_read(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("1", (20_000, 20_000)).save(tmp_path / "photos" / "p1.png")
    made = coco(tmp_path / "a.json", "p1.png", size=(20_000, 20_000))
    assert notes(opened(tmp_path, tmp_path / "photos", made, "data.decode_images=false")) == []


@pytest.mark.parametrize("format_name", ["coco", "voc", "yolo"])
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_what_is_no_file_is_refused_and_not_waited_for(
    tmp_path: Path, format_name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path / "photos")  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as server:
        os.mkfifo("p1.jpg") if kind == "pipe" else server.bind("p1.jpg")
        make: dict[str, Callable[[], Path]] = {
            "coco": lambda: coco(tmp_path / "a.json", "p1.jpg"),
            "voc": lambda: voc(tmp_path / "Annotations", "p1.jpg"),
            "yolo": lambda: yolo(tmp_path / "labels"),
        }
        run = opened(tmp_path, tmp_path / "photos", make[format_name](), f"data={format_name}")
        (problem,) = problems(run)
    seen = "a pipe (FIFO)" if kind == "pipe" else "a socket"
    assert f"is {seen}, not a file. Give a file, or copy its content into one." in problem
    named = {"coco": "image 1: ", "voc": "p1.xml: ", "yolo": "p1.jpg: "}[format_name]
    assert problem.startswith(named)


def test_an_annotation_file_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    draw(tmp_path / "photos" / "p1.jpg")
    os.mkfifo(tmp_path / "a.json")
    assert problems(opened(tmp_path, tmp_path / "photos", tmp_path / "a.json")) == [
        "cannot be read: it is no regular file. Give a file."
    ]


def turned_folder(tmp_path: Path) -> Run:
    draw(tmp_path / "photos" / "p1.png", 6)
    draw(tmp_path / "photos" / "deep" / "p2.png")
    made = coco(tmp_path / "a.json", "p1.png", "deep\\p2.png", size=TURNED)
    content = json.loads(made.read_text())
    content["images"][1].update(width=WIDTH, height=HEIGHT)
    made.write_text(json.dumps(content))
    return opened(tmp_path, tmp_path / "photos", made)


def test_links_into_the_users_folder_are_no_output_and_are_not_counted(tmp_path: Path) -> None:
    run = turned_folder(tmp_path)
    view = inputs.inputs(run).train.images
    assert view.parent.parent == run.store.root / image_stage.IMAGES
    assert damage(view.parent) is None
    manifest = json.loads((view.parent / "MANIFEST.json").read_text())
    assert sorted(manifest["files"]) == ["pixels/0", "plan.json"]
    (entry,) = [e for e in contents.entries(run.store.root) if e.stage == image_stage.IMAGES]
    real = [path for path in view.parent.rglob("*") if path.is_file() and not path.is_symlink()]
    assert entry.size == sum(path.stat().st_size for path in real)


def test_the_same_photos_elsewhere_are_not_written_again(tmp_path: Path) -> None:
    run = turned_folder(tmp_path)
    first = inputs.inputs(run).train.images
    key = run.digests(inputs.inputs(run).train).images
    (tmp_path / "photos" / "deep" / "p2.png").rename(tmp_path / "photos" / "deep\\p2.png")
    (tmp_path / "photos").rename(tmp_path / "moved")
    moved = opened(tmp_path, tmp_path / "moved", tmp_path / "a.json")
    second = inputs.inputs(moved).train.images
    assert moved.digests(inputs.inputs(moved).train).images == key  # so no stage runs again
    assert first != second


def test_a_view_that_lost_a_link_is_mended(tmp_path: Path) -> None:
    run = turned_folder(tmp_path)
    view = inputs.inputs(run).train.images
    (view / "p1.png").unlink()
    again = opened(tmp_path, tmp_path / "photos", tmp_path / "a.json")
    assert inputs.inputs(again).train.images == view
    assert (view / "p1.png").is_file()


@pytest.mark.parametrize("name", ["p1.jpg", "p1.tif"])
def test_a_damaged_photo_that_would_be_turned_is_told_by_the_check(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "photos").mkdir()
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6
    kind: Json = {"tiffinfo": exif} if name.endswith("tif") else {"exif": exif}
    photo = tmp_path / "photos" / name
    Image.fromarray(pixels()).save(photo, **kind)
    whole = photo.read_bytes()
    start = whole.find(b"\xff\xda") if name.endswith("jpg") else 200
    photo.write_bytes(whole[:start] if name.endswith("jpg") else whole[:8] + b"\0" * 100)
    made = coco(tmp_path / "a.json", name, size=TURNED)
    (problem,) = problems(opened(tmp_path, tmp_path / "photos", made))
    assert problem.startswith(f"image 1: {str(photo)!r} cannot be read as an image (")


def test_a_limit_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.max_image_pixels=0 is not possible: .* least 1"):
        opened(tmp_path, tmp_path, tmp_path / "a.json", "data.max_image_pixels=0")
