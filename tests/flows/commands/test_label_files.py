"""`mal export-labels` from the user's end."""

import json
from typing import get_args

import pytest

from flows.commands import label_files
from flows.settings import composing
from flows.settings.run_config import ExportFormat
from mal_core.errors import ConfigError, DatasetError
from mal_core.formats.exports import EXPORTS
from tests.builders import write_coco


def test_the_setting_knows_every_export():
    assert set(get_args(ExportFormat)) == EXPORTS.keys()


def test_labels_of_a_working_folder_are_exported_and_counted(tmp_path):
    files = write_coco(tmp_path / "data", with_crowd=True)
    labels = tmp_path / "w" / "labels" / "train.json"
    labels.parent.mkdir(parents=True)
    labels.write_text(files.annotations.read_text())
    given = [f"workdir={tmp_path / 'w'}", "format=yolo", f"output={tmp_path / 'out'}"]
    lines = label_files.export(composing.compose([*given, f"images={files.images}"]))
    assert lines[0] == "6 objects written"
    assert "1 left out: crowds, which the format cannot say" in lines
    assert json.loads((tmp_path / "out" / "export.json").read_text())["written"] == 6
    # Again, and with what somebody has put there: without the photos now.
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert label_files.export(composing.compose(given)) == lines
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"
    assert not (tmp_path / "out" / "images").exists()
    (tmp_path / "out" / "data.yaml").write_text("names: [mine]")
    with pytest.raises(ConfigError, match=r"has data\.yaml, changed since `mal export-labels form"):
        label_files.export(composing.compose(given))


def test_an_export_that_is_refused_leaves_nothing(tmp_path):
    files = write_coco(tmp_path / "data")
    next(files.images.rglob("2.png")).unlink()
    given = [f"labels={files.annotations}", f"images={files.images}", "format=yolo"]
    with pytest.raises(DatasetError, match="1 photos are not in images="):
        label_files.export(composing.compose([*given, f"output={tmp_path / 'new' / 'out'}"]))
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_folder_of_something_else_is_refused_by_name(tmp_path):
    files = write_coco(tmp_path / "data")
    given = [f"labels={files.annotations}", "format=yolo", f"output={tmp_path / 'data'}"]
    with pytest.raises(ConfigError, match=r"holds images/train/0\.png, .* and 1 more files, which"):
        label_files.export(composing.compose(given))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("format=yolo output=x workdir=nowhere", "train.json: no such file. Give labels=FILE"),
        ("output=x", "Give format=NAME, one of coco_rle"),
        ("format=yolo labels={labels}", "Give output=DIR"),
        (
            "format=yolo labels={labels} output=x image_url=https://a/b/",
            r"^image_url=https://a/b/: format=yolo has no addresses of photos; label_studio has\. "
            r"Leave it out\.$",
        ),
        ("format=yolo labels={labels} output=x images=nowhere", "no such folder"),
    ],
)
def test_what_cannot_be_exported_is_refused(given, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = write_coco(tmp_path / "data").annotations
    config = composing.compose(given.format(labels=labels).split())
    with pytest.raises(ConfigError, match=said):
        label_files.export(config)
