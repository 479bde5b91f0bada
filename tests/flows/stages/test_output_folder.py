"""`output=DIR/` is a folder for whoever writes one file, and stays one for the others."""

import json

import pytest

import mal_core
from flows.commands.cli import main
from flows.stages.targets import into_folder
from mal_core.processes.own_file import RECORD
from tests.builders import write_coco
from tests.mal_core.formats.drawn_formats import draw, write_yolo


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("MAL_STORE", str(tmp_path / "store"))


def test_labels_go_into_a_new_folder_whose_name_ends_with_a_slash(tmp_path):
    files = write_coco(tmp_path / "data")
    given = [f"data.train.images={files.images}", f"data.train.annotations={files.annotations}"]
    target = tmp_path / "new"
    assert main(["label", "labeler=box", *given, f"workdir={tmp_path}", f"output={target}/"]) == 0
    assert len(json.loads((target / "train.json").read_text())["annotations"]) == 6
    written = [RECORD, "train.json", "train.manifest.json", "train.skipped.json"]
    assert sorted(path.name for path in target.iterdir()) == written


def test_a_folder_of_labels_has_the_place_that_was_named(tmp_path):
    labels, images = write_yolo(tmp_path / "labels"), draw(tmp_path / "images")
    given = [f"data.train.images={images}", f"data.train.annotations={labels}"]
    told = ["data=yolo", *given, f"output={tmp_path / 'new'}/"]
    assert into_folder(told) == told


def test_corrected_labels_go_into_a_new_folder_too(tmp_path):
    files = write_coco(tmp_path / "data")
    (tmp_path / "d.json").write_text('{"review": 1, "decisions": []}')
    given = [f"labels={files.annotations}", f"corrections={tmp_path / 'd.json'}"]
    assert main(["review", "import", *given, f"output={tmp_path / 'new'}/"]) == 0
    assert (tmp_path / "new" / "train.json").is_file()


def test_other_places_stay_as_they_are():
    assert into_folder(["output=a.json", "labels=b/"], "train.json") == [
        "output=a.json",
        "labels=b/",
    ]
    assert into_folder(["output=a/"], "train.json") == ["output=a/train.json"]


def test_findings_and_numbers_go_into_new_folders_too(tmp_path):
    files = write_coco(tmp_path / "data")
    given = [f"data.train.images={files.images}", f"data.train.annotations={files.annotations}"]
    assert main(["check", *given, f"output={tmp_path / 'found'}/"]) == 0
    assert json.loads((tmp_path / "found" / "check.json").read_text())["fine"] is True
    compared = [f"labels={files.annotations}", f"human={files.annotations}"]
    assert main(["evaluate", *compared, f"output={tmp_path / 'scored'}/"]) == 0
    assert (tmp_path / "scored" / "label_metrics.json").is_file()


def test_repaired_copies_stay_in_the_folder_that_was_named(tmp_path):
    files = write_coco(tmp_path / "data")
    given = [f"data.train.images={files.images}", f"data.train.annotations={files.annotations}"]
    assert main(["check", *given, "fix=true", f"output={tmp_path / 'copies'}/"]) == 0
    assert (tmp_path / "copies" / "train.json").is_file()


def test_labels_from_python_go_into_a_new_folder_too(tmp_path):
    files = write_coco(tmp_path / "data")
    labeler = mal_core.load_labeler(labeler="box")
    done = labeler.label_file(files.images, files.annotations, f"{tmp_path / 'new'}/")
    assert done.annotations == tmp_path / "new" / "train.json"
    assert done.annotations.is_file()
