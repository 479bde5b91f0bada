"""`mal export-labels` from the user's end."""

import json
from typing import get_args

import pytest

from flows.commands import label_files
from flows.settings import composing
from flows.settings.run_config import ExportFormat
from mal_core.errors import ConfigError
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
    with pytest.raises(ConfigError, match="is there and not empty"):
        label_files.export(composing.compose(given))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("format=yolo output=x workdir=nowhere", "train.json: no such file. Give labels=FILE"),
        ("output=x", "Give format=NAME, one of coco_rle"),
        ("format=yolo labels={labels}", "Give output=DIR"),
        ("format=yolo labels={labels} output=x images=nowhere", "no such folder"),
    ],
)
def test_what_cannot_be_exported_is_refused(given, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = write_coco(tmp_path / "data").annotations
    config = composing.compose(given.format(labels=labels).split())
    with pytest.raises(ConfigError, match=said):
        label_files.export(config)
