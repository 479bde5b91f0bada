"""Names that lead out of the folder mean the one file in it that they fit."""

from pathlib import Path
from typing import Any

import pytest

from mal_core.data.inspection.name_repair import with_inner_names

Told = list[tuple[str, str, str]]


def repaired(root: Path, *names: Any) -> tuple[list[Any], Told]:
    told: Told = []
    entries = [{"id": place, "file_name": name} for place, name in enumerate(names)]
    found = with_inner_names(entries, root, lambda *one: told.append(one))
    return [entry["file_name"] for entry in found], told


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("0.jpg", "b/1.jpg", "c/1.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "/pictures/a/0.jpg",
        "../photos/0.jpg",
        "..\\photos\\0.jpg",
        "\\\\server\\share\\0.jpg",
        "https://example.org/bucket/0.jpg?signature=ab%2Fc#top",
        "s3://bucket/a/0.jpg",
        "/data/local-files/?d=photos/a/0.jpg",
        "/data/upload/3/1a2b3c4d-0.jpg",
    ],
)
def test_a_name_is_the_one_file_that_it_fits(name: str, root: Path) -> None:
    names, told = repaired(root, name)
    assert names == ["0.jpg"]
    assert told == [
        ("corrected", "image 0", f"file_name={name!r} leads out of the folder: it is '0.jpg'")
    ]


@pytest.mark.parametrize(
    "names",
    [
        ["/photos/1.jpg"],
        ["/photos/2.jpg"],
        ["/photos/0.jpg", "0.jpg"],
        ["/photos/0.jpg", "/other/0.jpg"],
        ["a/0.jpg", "0.jpg", "", "..", "/", "https://x", None, 5, ["/a/0.jpg"], {"a": 1}],
    ],
)
def test_where_there_is_a_choice_names_stay(names: list[Any], root: Path) -> None:
    assert repaired(root, *names) == (names, [])
