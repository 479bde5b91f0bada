"""What phase 1 reads is on record, and a mask among it is caught, however it came there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mal_core.data.coco import strip_masks
from mal_core.errors import LeakError
from mal_core.jobs.reads import (
    CERTIFICATE,
    LOG,
    certify,
    holds_masks,
    read_certificate,
    require_no_masks,
)
from tests.builders import CocoFiles, write_coco

PROGRAM = """
import os, sys
from pathlib import Path
from mal_core.jobs.reads import watch_reads
watch_reads(Path(sys.argv[1]))
from mal_core.data.images.loading import load_image
for name in sys.argv[2:]:
    if os.fork() == 0:  # as data workers are
        load_image(Path(name)) if name.endswith(".png") else Path(name).read_bytes()
        os._exit(0)
    os.wait()
Path(sys.argv[1], "own.txt").write_text("x")
Path(sys.argv[1], "own.txt").read_text()
"""


def read_in_child(folder: Path, *paths: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(folder), *map(str, paths)]
    subprocess.run(command, check=True)


@pytest.fixture
def files(tmp_path: Path) -> CocoFiles:
    return write_coco(tmp_path, with_crowd=True)


@pytest.fixture
def boxes(files: CocoFiles, tmp_path: Path) -> Path:
    target = tmp_path / "store" / "boxes.json"
    strip_masks(files.annotations, target)
    return target


def names(files: CocoFiles) -> list[str]:
    return [image["file_name"] for image in files.content()["images"]]


def test_what_is_read_is_certified_with_its_digest(
    files: CocoFiles, boxes: Path, tmp_path: Path
) -> None:
    folder, photos = tmp_path / "job", [files.images / name for name in names(files)]
    read_in_child(folder, boxes, *photos[:2])
    found = certify(folder, boxes=boxes, images=files.images, names=names(files))
    assert found.clean
    assert found.num_images == 2
    (file,) = found.files
    assert (file.name, file.role, len(file.sha256)) == ("boxes.json", "boxes", 64)
    assert "none of them held a mask" in found.line()
    assert read_certificate(folder) == found
    assert not (folder / LOG).exists()


def test_a_planted_file_of_masks_is_caught(files: CocoFiles, boxes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    read_in_child(folder, boxes, files.annotations)
    with pytest.raises(LeakError, match="may hold masks"):
        certify(folder, boxes=boxes, images=files.images, names=names(files))
    record = json.loads((folder / CERTIFICATE).read_text())
    assert [one["holds_masks"] for one in record["files"]] == [True, False] or [
        one["holds_masks"] for one in record["files"]
    ] == [False, True]


def test_a_guide_may_hold_masks_and_is_named(files: CocoFiles, boxes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    read_in_child(folder, boxes, files.annotations)
    known = {"boxes": boxes, "images": files.images, "names": names(files)}
    found = certify(folder, guide=Path(os.path.relpath(files.annotations)), **known)
    assert found.clean
    assert found.guided
    assert {(one.role, one.holds_masks) for one in found.files} == {
        ("boxes", False),
        ("guide", True),
    }
    assert "no masks but the guide's were read" in found.line()
    other = tmp_path / "other.json"
    other.write_bytes(files.annotations.read_bytes())
    read_in_child(folder, boxes, files.annotations, other)
    with pytest.raises(LeakError, match=r"read other\.json, which"):
        certify(folder, guide=files.annotations, **known)


def test_a_planted_picture_is_caught(files: CocoFiles, boxes: Path, tmp_path: Path) -> None:
    folder, mask = tmp_path / "job", tmp_path / "mask.png"
    mask.write_bytes((files.images / names(files)[0]).read_bytes())
    read_in_child(folder, boxes, mask)
    with pytest.raises(LeakError, match=r"mask\.png"):
        certify(folder, boxes=boxes, images=files.images, names=names(files))


def test_boxes_with_masks_are_refused_before_anything_is_learned(
    files: CocoFiles, boxes: Path
) -> None:
    require_no_masks(boxes)
    with pytest.raises(LeakError, match="holds masks"):
        require_no_masks(files.annotations)


def test_a_word_elsewhere_is_no_mask(files: CocoFiles, boxes: Path, tmp_path: Path) -> None:
    content = json.loads(boxes.read_text())
    content["info"] = {"segmentation": "none"}
    content["annotations"][0]["note"] = {"segmentation": "coarse"}
    other = tmp_path / "boxes.json"
    other.write_text(json.dumps(content))
    assert not holds_masks(other)
    other.write_text(json.dumps([{"image_id": 1, "segmentation": {}}]))
    assert holds_masks(other)
