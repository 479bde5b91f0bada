"""Results lists that are none, and what their entries lack."""

import json
from pathlib import Path

import pytest

from mal_core.data.results import read_results
from mal_core.errors import DatasetError

ENTRY = {"image_id": 1, "category_id": 2, "score": 0.5, "bbox": [0, 0, 1, 1]}


def written(folder: Path, value: object) -> Path:
    path = folder / "results.json"
    path.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize("entries", [[], [ENTRY, ENTRY]])
def test_a_list_comes_as_it_is(tmp_path: Path, entries: list[object]) -> None:
    assert read_results(written(tmp_path, entries), ["bbox"]) == entries


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({}, "no list of detections"),
        ({"images": [], "annotations": [], "categories": []}, "no list of detections"),
        ([ENTRY, 3], r"detection 1 \(counted from 0\) is no object"),
        ([ENTRY, {}], "1 predictions have no box, the first at 1"),
    ],
)
def test_anything_else_is_refused_with_its_place(
    tmp_path: Path, value: object, problem: str
) -> None:
    path = written(tmp_path, value)
    with pytest.raises(DatasetError, match=problem) as caught:
        read_results(path, ["bbox"])
    assert caught.value.path == path


def test_what_is_no_json_is_a_sentence_about_the_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text("[{]")
    with pytest.raises(DatasetError, match="broken JSON at line 1"):
        read_results(path)
