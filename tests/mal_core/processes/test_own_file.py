"""A file that a user named is replaced if a command wrote it as it is, and not otherwise."""

import json
from pathlib import Path

import pytest

from mal_core.errors import ConfigError
from mal_core.processes.files import sha256_file
from mal_core.processes.own_file import (
    RECORD,
    adopt,
    check_kind,
    check_own,
    copy_own,
    write_own_json,
)


def test_what_was_written_is_known_also_after_another_content(tmp_path: Path) -> None:
    place = tmp_path / "masks.json"
    check_own(place)
    for content in ([1], [2], [1]):
        write_own_json(place, content)
        check_own(place)
    assert json.loads(place.read_text()) == [1]
    assert len((tmp_path / RECORD).read_text().splitlines()) == 2  # one per content


def test_a_file_of_somebody_else_and_a_changed_one_are_refused(tmp_path: Path) -> None:
    place = tmp_path / "masks.json"
    place.write_text("[]")
    with pytest.raises(ConfigError, match=r"^output=.*masks\.json is there already and was not"):
        check_own(place)
    place.unlink()
    write_own_json(place, [1, 2])
    place.write_text("[1]")
    with pytest.raises(ConfigError, match=r"^here was changed since `mal` wrote it, so nothing"):
        check_own(place, "here")
    place.write_text("")  # empty: nothing is lost
    check_own(place)


def test_the_digest_counts_at_its_own_place_only(tmp_path: Path) -> None:
    write_own_json(tmp_path / "a.json", [1])
    (tmp_path / "b.json").write_bytes((tmp_path / "a.json").read_bytes())
    with pytest.raises(ConfigError, match="was not written"):
        check_own(tmp_path / "b.json")


def test_a_kill_before_the_file_is_there_leaves_the_old_one_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "masks.json"
    write_own_json(place, ["old"])

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write_own_json(place, ["new"])
    check_own(place)
    place.write_text(json.dumps(["new"]))  # as a kill after the rename leaves it
    check_own(place)


def test_copied_and_adopted_files_are_known(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("[3]")
    place = tmp_path / "out" / "x.json"
    copy_own(tmp_path / "source", place, sha256_file(tmp_path / "source"))
    before = place.stat().st_ino
    copy_own(tmp_path / "source", place, sha256_file(tmp_path / "source"))
    assert place.stat().st_ino == before  # the same content stays
    check_own(place)
    (tmp_path / "source").write_text("[4]")
    adopt(tmp_path / "source", place)
    check_own(place)
    assert place.read_text() == "[4]"


def test_labels_of_a_working_folder_are_known_by_their_manifest(tmp_path: Path) -> None:
    place = tmp_path / "train.json"
    place.write_text("{}")
    (tmp_path / "train.manifest.json").write_text(json.dumps({"sha256": sha256_file(place)}))
    check_own(place)
    place.write_text("{ }")
    with pytest.raises(ConfigError, match="was not written"):
        check_own(place)


def test_a_link_to_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "human.json").write_text("{}")
    (tmp_path / "link.json").symlink_to("human.json")
    with pytest.raises(ConfigError, match="was not written"):
        check_own(tmp_path / "link.json")


def test_an_error_leaves_no_digest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_own_json(tmp_path / "x", float("nan"))
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("content", ["[]", "{", '{"a": 1}', "null"])
def test_a_file_beside_is_told_by_its_keys(content: str, tmp_path: Path) -> None:
    place = tmp_path / "x.skipped.json"
    check_kind(place, {"a", "b"}, "it")
    place.write_text('{"a": 1, "b": 2, "c": 3}')
    check_kind(place, {"a", "b"}, "it")
    place.write_text(content)
    with pytest.raises(ConfigError, match=r"^it is there already"):
        check_kind(place, {"a", "b"}, "it")
