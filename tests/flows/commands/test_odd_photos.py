"""Photos that EXIF turns, or whose names are spelled otherwise, in what reads labels again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flows.commands.cli import main
from mal_core.data.images.loading import load_image
from tests.flows.conftest import own_logs

Mal = Callable[..., tuple[int, str, str]]
Json = dict[str, Any]
WIDTH, HEIGHT = 60, 40
NAME, FILE = "imgs\\photo%201.png", "Photo 1.PNG"
"""As the annotations spell it, and as it lies in the folder."""


@pytest.fixture
def mal(mal_in_folder: Mal) -> Mal:
    return mal_in_folder


def shown() -> np.ndarray:
    """The photo as viewers show it: a bright object in noise."""
    pixels = np.random.default_rng(0).integers(0, 60, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    pixels[10:30, 5:25] = (230, 200, 40)
    return pixels


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where `mal label` labeled a turned photo under a loose name, to labels.json."""
    folder = tmp_path_factory.mktemp("labeled")
    (folder / "photos").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(shown())))
    stored.save(folder / "photos" / FILE, format="PNG", exif=exif)
    content = {
        "images": [{"id": 1, "file_name": NAME, "width": WIDTH, "height": HEIGHT}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 10, 20, 20]}],
        "categories": [{"id": 1, "name": "thing"}],
    }
    (folder / "boxes.json").write_text(json.dumps(content))
    split = ("data.train.images=photos", "data.train.annotations=boxes.json")
    with pytest.MonkeyPatch.context() as patch, own_logs():
        patch.chdir(folder)
        patch.setenv("MAL_STORE", str(folder / "store"))
        assert main(["label", "labeler=box", *split, "output=labels.json"]) == 0
    return folder


@pytest.fixture
def labeled(once: Path, tmp_path: Path) -> Json:
    """The labels; the folder of the test has them, the photo and the boxes."""
    shutil.copytree(once, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("store"))
    found: Json = json.loads((tmp_path / "labels.json").read_text())
    assert [bool(one["segmentation"]) for one in found["annotations"]] == [True]
    return found


def test_labels_are_scored_under_their_own_names_and_in_their_own_frame(mal, labeled, tmp_path):
    before = labeled
    status, out, err = mal("score", "labels=labels.json", "images=photos", "output=scored.json")
    assert (status, out.startswith("1 masks scored")) == (0, True), err
    assert "1 images were found although the annotations spell their names differently" in err
    after = json.loads((tmp_path / "scored.json").read_text())
    kept = ("segmentation", "bbox", "image_id")
    assert after["images"] == before["images"]
    assert [after["annotations"][0][key] for key in kept] == [
        before["annotations"][0][key] for key in kept
    ]


def test_a_review_shows_the_photo_that_was_labeled(mal, labeled, tmp_path):
    status, _, err = mal("review", "labels=labels.json", "images=photos", "output=q")
    assert status == 0, err
    queue = json.loads((tmp_path / "q" / "queue.json").read_text())["queue"]
    assert [one["file_name"] for one in queue] == [NAME]
    np.testing.assert_array_equal(load_image(tmp_path / "q" / "cvat" / "images" / NAME), shown())


def test_an_export_has_a_photo_of_its_own_that_fits_its_labels(mal, labeled, tmp_path):
    given = ("labels=labels.json", "images=photos", "output=x")
    status, _, err = mal("export-labels", *given, "format=yolo")
    assert status == 0, err
    photo = tmp_path / "x" / "images" / NAME
    np.testing.assert_array_equal(load_image(photo), shown())
    assert photo.stat().st_nlink == 1  # nothing of the store can be changed through it


def test_an_absent_photo_is_told_with_the_folder_of_the_user(mal, labeled, tmp_path):
    content = json.loads((tmp_path / "labels.json").read_text())
    content["images"].append({"id": 2, "file_name": "no.png", "width": 9, "height": 9})
    (tmp_path / "labels.json").write_text(json.dumps(content))
    given = ("labels=labels.json", "images=photos", "output=x")
    status, _, err = mal("export-labels", *given, "format=yolo")
    assert status == 2
    problem = f"1 photos are not in images={tmp_path / 'photos'}, such as no.png."
    assert err.endswith(f"mal: {tmp_path / 'labels.json'}: 1 problem\n  - {problem}\n")
