"""A folder is replaced by the work that wrote it, whole, and by no other."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mal_core.errors import ConfigError
from mal_core.processes.own_folder import OwnFolder

Files = dict[str, str]


def write(place: Path, files: Files, work: str = "mal work") -> None:
    with OwnFolder(place, work).filled() as fresh:
        for name, text in files.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).write_text(text)


def shown(place: Path) -> Files:
    found = {path.relative_to(place).as_posix(): path for path in place.rglob("[!.]*")}
    return {name: path.read_text() for name, path in found.items() if path.is_file()}


def stamps(place: Path) -> dict[Path, tuple[int, int]]:
    found = [path for path in place.rglob("*") if path.is_file()]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def test_the_same_work_again_touches_nothing(tmp_path: Path) -> None:
    write(tmp_path / "new" / "out", {"a": "1", "b/c": "2"})
    before = stamps(tmp_path)
    write(tmp_path / "new" / "out", {"a": "1", "b/c": "2"})
    assert stamps(tmp_path) == before
    assert shown(tmp_path / "new" / "out") == {"a": "1", "b/c": "2"}


def test_what_has_changed_is_replaced_and_what_is_foreign_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, {"a": "1", "old/deep/b": "2", "c": "3"})
    (tmp_path / "mine.txt").write_text("mine")
    caplog.set_level("INFO")
    write(tmp_path, {"a": "new", "c": "3", "d/e": "4"})
    assert shown(tmp_path) == {"a": "new", "c": "3", "d/e": "4", "mine.txt": "mine"}
    assert not (tmp_path / "old").exists()
    assert "mine.txt" in caplog.text
    assert "stays as it is" in caplog.text
    write(tmp_path, {"a": "new"})
    assert shown(tmp_path) == {"a": "new", "mine.txt": "mine"}


@pytest.mark.parametrize("change", ["edit", "folder"])
def test_what_somebody_has_changed_is_told_before_any_work(change: str, tmp_path: Path) -> None:
    write(tmp_path, {"a": "1", "b": "2"})
    (tmp_path / "a").unlink()
    if change == "edit":
        (tmp_path / "a").write_text("corrected by hand")
    else:
        (tmp_path / "a").mkdir()
    with pytest.raises(ConfigError, match=f"^output={tmp_path} has a, changed since `mal work`"):
        OwnFolder(tmp_path, "mal work").check()
    if change == "edit":
        assert shown(tmp_path) == {"a": "corrected by hand", "b": "2"}


def test_what_is_gone_is_written_again(tmp_path: Path) -> None:
    write(tmp_path, {"a": "1", "b/c": "2"})
    (tmp_path / "b" / "c").unlink()
    write(tmp_path, {"a": "1", "b/c": "2"})
    assert shown(tmp_path) == {"a": "1", "b/c": "2"}


def test_a_folder_of_others_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("x")
    said = (
        rf"^output={tmp_path} holds photo\.jpg, which `mal work` has not written, or an earlier "
        r"version of it, which kept no record\. Name a new folder, or remove these\.$"
    )
    with pytest.raises(ConfigError, match=said):
        write(tmp_path, {"a": "1"})
    assert shown(tmp_path) == {"photo.jpg": "x"}
    write(tmp_path / "b", {"a": "1"}, "mal other")
    with pytest.raises(ConfigError, match="holds what `mal other` has written"):
        write(tmp_path / "b", {"a": "2"})
    assert shown(tmp_path / "b") == {"a": "1"}


@pytest.mark.parametrize("foreign", ["b", "b/c", "b/c/d"])
def test_new_files_never_replace_foreign_ones(foreign: str, tmp_path: Path) -> None:
    write(tmp_path, {"a": "1"})
    (tmp_path / foreign).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / foreign).write_text("mine")
    with pytest.raises(ConfigError, match="has b/c of others, which stays"):
        write(tmp_path, {"a": "2", "b/c": "x"})
    assert shown(tmp_path) == {"a": "1", foreign: "mine"}
    assert not [*tmp_path.glob("*partial*")]


def test_an_input_in_it_is_not_replaced(tmp_path: Path) -> None:
    write(tmp_path, {"a.json": "1"})
    with pytest.raises(ConfigError, match=r"holds the input .*a\.json"):
        OwnFolder(tmp_path, "mal work", [tmp_path / "a.json"]).check()


def test_a_record_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    write(tmp_path / "out", {"a": "1"})
    (tmp_path / "b").write_text("1")
    record = tmp_path / "out" / ".written_by_mal.json"
    record.write_text(record.read_text().replace('"a"', '"../b"'))
    with pytest.raises(ConfigError, match="names files elsewhere"):
        write(tmp_path / "out", {"c": "1"})
    assert (tmp_path / "b").is_file()


def test_links_to_photos_are_known_without_being_read(tmp_path: Path) -> None:
    (tmp_path / "photo").write_text("pixels")
    for _ in range(2):
        with OwnFolder(tmp_path / "out", "mal work").filled() as fresh:
            os.link(tmp_path / "photo", fresh / "photo")
    assert (tmp_path / "out" / "photo").samefile(tmp_path / "photo")
    assert " bytes at " in (tmp_path / "out" / ".written_by_mal.json").read_text()


def test_work_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "new" / "out", tmp_path / "empty"):
        with pytest.raises(FileExistsError):
            write(place, {"half": "x", "half/below": "cannot be"})
    assert [*tmp_path.rglob("*")] == [tmp_path / "empty"]


KILLED = """
import os, signal, sys
from pathlib import Path
from mal_core.processes import own_folder
place, steps = Path(sys.argv[1]), int(sys.argv[2])
replace = Path.replace
def counted(source, target):
    global steps
    steps -= 1
    if steps < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(source, target)
Path.replace = counted
with own_folder.OwnFolder(place, "mal work").filled() as fresh:
    for name in "bcd":
        (fresh / name).write_text("new")
"""


@pytest.mark.parametrize("steps", range(8))
def test_killed_anywhere_the_same_work_again_finishes(steps: int, tmp_path: Path) -> None:
    place = tmp_path / "out"
    write(place, {"a": "old", "b": "old"})
    arguments = [sys.executable, "-c", KILLED, str(place), str(steps)]
    status = subprocess.run(arguments, check=False).returncode
    assert status == (-signal.SIGKILL if steps < 7 else 0)
    write(place, dict.fromkeys("bcd", "new"))
    assert shown(place) == dict.fromkeys("bcd", "new")
    assert sorted(path.name for path in place.iterdir()) == [".written_by_mal.json", *"bcd"]


SLOW = """
import sys, time
from pathlib import Path
from mal_core.processes import own_folder
place, work = Path(sys.argv[1]), sys.argv[2]
with own_folder.OwnFolder(place, work).filled() as fresh:
    (fresh / "a").write_text("first")
    print("begun", flush=True)
    sys.stdin.readline()
    (fresh / "b").write_text("first")
"""


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("work", ["mal work", "mal other"])
def test_a_second_command_waits_until_the_first_has_written(
    there: bool, work: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "new" / "out"
    if there:
        write(place, {"old": "x"})
    first = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(place), "mal work"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "begun\n"
    caplog.set_level("INFO")
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(write, place, {"a": "second"}, work)
        while "another command writes" not in caplog.text and not second.done():
            time.sleep(0.01)
        assert not second.done() or (there and work == "mal other")
        first.communicate("\n")
        if work == "mal work":
            second.result()
            assert shown(place) == {"a": "second"}
        else:
            with pytest.raises(ConfigError, match="holds what `mal work` has written"):
                second.result()
            assert shown(place) == {"a": "first", "b": "first"}
    assert first.returncode == 0
    left = sorted(path.name for path in tmp_path.rglob(".*"))
    assert left == [".written_by_mal.json"]


def test_locks_that_a_kill_has_left_are_no_files_of_others(tmp_path: Path) -> None:
    place = tmp_path / "out"
    place.mkdir()
    (place / ".mal-partial.lock").touch()
    (tmp_path / ".out.mal-partial.lock").touch()
    write(place, {"a": "1"})
    assert sorted(path.name for path in place.iterdir()) == [".written_by_mal.json", "a"]
