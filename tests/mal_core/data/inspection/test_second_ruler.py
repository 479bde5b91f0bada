"""Second annotation files that do not describe the validation images."""

import json
from pathlib import Path

import pytest

from mal_core.data.inspection.second_ruler import check_second_ruler
from mal_core.errors import DatasetError
from mal_core.processes.files import write_json
from scenes.write import write_scenes


@pytest.fixture(scope="module")
def val(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ruler") / "scenes"
    write_scenes(folder, num_train=1, num_val=2, size=96, seed=1)
    return folder / "val" / "annotations.json"


def changed(val: Path, target: Path, change) -> Path:
    content = json.loads(val.read_text())
    write_json(target, change(content) or content)
    return target


def rename(content):
    content["categories"][0]["name"] = "other"


def lose_image(content):
    content["images"].pop()
    known = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in known]


def resize(content):
    content["images"][0].update(width=50, height=50)


def empty(content):
    content["annotations"] = []


def strip(content):
    del content["annotations"][0]["segmentation"]


def as_list(_content):
    return [1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename, "category 1 is 'other' here but .* in .*must list the same classes"),
        (lose_image, "1 are not here, 0 are not there"),
        (resize, r"another size than in .*, the first is image"),
        (empty, "it has no annotations"),
        (strip, "1 annotations have no mask"),
        (as_list, "a JSON list instead of an object"),
    ],
)
def test_a_file_of_something_else_is_refused(change, message, val, tmp_path):
    with pytest.raises(DatasetError, match=message):
        check_second_ruler(changed(val, tmp_path / "second.json", change), val)


def test_other_masks_of_the_same_images_are_accepted(val, tmp_path):
    def fewer(content):
        content["annotations"].pop()

    check_second_ruler(changed(val, tmp_path / "second.json", fewer), val)
