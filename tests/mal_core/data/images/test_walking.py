"""What lies below a folder: links followed, circles not, what cannot be read told."""

import os
from pathlib import Path
from typing import Any

import pytest

from mal_core.data.images import walking
from mal_core.data.images.walking import entries_below, files_below
from mal_core.errors import DatasetError


def test_links_to_folders_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    for path in (root / "a" / "x.txt", other / "deep" / "Y.TXT", root / "__MACOSX" / "z.txt"):
        path.parent.mkdir(parents=True)
        path.write_text("")
    (root / "linked").symlink_to(other)
    (root / "again").symlink_to(root / "a")
    (root / "a" / "circle").symlink_to(root)
    (root / "itself").symlink_to(root / "itself")
    (root / "gone.txt").symlink_to("/gone/x.txt")
    names = ["a/x.txt", "again/x.txt", "gone.txt", "linked/deep/Y.TXT"]
    assert files_below(root, ".txt", ".xml") == [root / name for name in names]
    assert {name for name, is_file in entries_below(root) if not is_file} == {"gone.txt", "itself"}


def test_there_is_nothing_below_what_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    assert files_below(tmp_path / "a.txt", ".txt") == files_below(tmp_path / "gone", ".txt") == []


def test_a_folder_that_may_not_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shut").mkdir()

    def scandir(folder: str) -> Any:
        if folder.endswith("shut"):
            raise PermissionError(13, "Permission denied", folder)
        return os.scandir(folder)

    monkeypatch.setattr(walking, "os", type("os", (), {**vars(os), "scandir": scandir}))
    with pytest.raises(DatasetError) as caught:
        files_below(tmp_path, ".txt")
    assert str(caught.value.path) == str(tmp_path / "shut")
    assert caught.value.problems == (
        "the folder cannot be read: Permission denied. Change its permissions.",
    )
