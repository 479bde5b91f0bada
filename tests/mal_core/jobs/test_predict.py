"""Result files as COCO's server takes them."""

import json
import zipfile
from pathlib import Path

import pytest

from mal_core.jobs.predict import testset_name as name_of
from mal_core.jobs.predict import write_submission
from mal_core.processes.files import write_json

ENTRY = {
    "image_id": 3,
    "category_id": 1,
    "bbox": [0, 0, 2, 2],
    "score": 0.5,
    "segmentation": {"size": [2, 2], "counts": "04"},
}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("image_info_test-dev2017.json", "test-dev2017"),
        ("instances_val2017.json", "val2017"),
        ("mine.json", "mine"),
    ],
)
def test_the_set_is_named_as_its_list(file, name):
    assert name_of(Path("annotations") / file) == name


def test_file_and_zip_have_the_name_that_the_server_wants(tmp_path):
    write_json(tmp_path / "p.json", [ENTRY])
    zipped = write_submission(
        tmp_path / "p.json", tmp_path, testset="test-dev2017", algorithm="solov2_r50/pseudo"
    )
    assert zipped.name == "detections_test-dev2017_solov2-r50-pseudo_results.zip"
    with zipfile.ZipFile(zipped) as archive:
        (name,) = archive.namelist()
        (entry,) = json.loads(archive.read(name))
    assert name == zipped.with_suffix(".json").name
    assert json.loads(zipped.with_suffix(".json").read_text()) == [entry]
    assert entry == {key: value for key, value in ENTRY.items() if key != "bbox"}


def test_equal_predictions_give_equal_bytes(tmp_path):
    write_json(tmp_path / "p.json", [ENTRY])
    first = write_submission(tmp_path / "p.json", tmp_path / "a", testset="t", algorithm="x")
    second = write_submission(tmp_path / "p.json", tmp_path / "b", testset="t", algorithm="x")
    assert first.read_bytes() == second.read_bytes()
