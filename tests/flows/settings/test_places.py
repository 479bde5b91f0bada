"""Paths in settings: absolute, or refused before anybody asks a file system for them."""

import os
from pathlib import Path

import pytest

from flows.settings import composing
from flows.settings.places import absolute
from mal_core.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a" * 5000, "images='aaaa.*a name of 5000 bytes, which no file system takes"),
        ("photos/" + "ü" * 200, "a name of 400 bytes"),
        ("a\0b", "a NUL character"),
        ("~no-such-user-here/a", "there is no such user"),
        (" ", "images= is empty"),
    ],
)
def test_what_no_file_system_has_is_refused_by_its_key(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        composing.compose([f"images={text}"]) if "\0" not in text else absolute("images", text)
    assert len(str(caught.value)) < 200


def test_other_places_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert absolute("images", "ä/😀 x.json") == os.path.join(tmp_path, "ä/😀 x.json")  # noqa: PTH118
    assert absolute("images", "~/a/../b") == str(tmp_path / "home" / "b")


def test_what_is_no_file_is_told_as_what_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "link.json").symlink_to("gone.json")
    for name, said in (
        ("pipe.json", "a pipe or a device; a file is wanted."),
        ("link.json", "a link to 'gone.json', which is not there."),
        ("absent.json", "no such file."),
        (".", "a folder; a file is wanted."),
    ):
        with pytest.raises(ConfigError) as caught:
            composing.compose([f"labels={tmp_path / name}"])
        assert str(caught.value).endswith(said), name
