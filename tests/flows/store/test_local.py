"""The store: hits only for whole outputs, one worker per key, attempts that survive kills."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.store.local import DigestCache, StageKey, Store, copy_out
from flows.store.manifest import read_manifest
from mal_core.errors import ConfigError
from mal_core.processes.files import sha256_file
from tests.flows.stand_ins import Painter

KEY = StageKey(stage="draw", config={"steps": 3}, inputs={"boxes": "ab"}, code="1")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_second_request_is_a_hit_and_works_nothing(store: Store) -> None:
    paint = Painter()
    first, second = store.get(KEY, paint), store.get(KEY, paint)
    assert (first.hit, second.hit, paint.count) == (False, True, 1)
    assert second.files == first.files
    assert set(first.files) == {"inner/picture.txt", "notes.txt", "empty.txt"}


def test_manifest_says_why_the_key_is_what_it_is(store: Store) -> None:
    manifest = read_manifest(store.get(KEY, Painter()).path)
    ingredients = {name: getattr(manifest, name) for name in ("stage", "config", "inputs", "code")}
    assert ingredients == KEY.as_json()


@pytest.mark.parametrize(
    "other",
    [
        StageKey(stage="drew", config={"steps": 3}, inputs={"boxes": "ab"}, code="1"),
        StageKey(stage="draw", config={"steps": 4}, inputs={"boxes": "ab"}, code="1"),
        StageKey(stage="draw", config={"steps": 3}, inputs={"boxes": "ac"}, code="1"),
        StageKey(stage="draw", config={"steps": 3}, inputs={"boxes": "ab"}, code="2"),
    ],
)
def test_every_ingredient_is_part_of_the_key(other: StageKey) -> None:
    assert other.digest != KEY.digest


def test_order_of_settings_is_not_part_of_the_key() -> None:
    one = StageKey(stage="s", config={"a": 1, "b": 2}, inputs={}, code="")
    two = StageKey(stage="s", config={"b": 2, "a": 1}, inputs={}, code="")
    assert one.digest == two.digest


def delete(path: Path) -> None:
    path.unlink()


def alter(path: Path) -> None:
    status = path.stat()
    path.write_text(path.read_text().replace("e", "a"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def truncate(path: Path) -> None:
    os.truncate(path, 1)


@pytest.mark.parametrize("damage", [delete, alter, truncate])
@pytest.mark.parametrize("name", ["inner/picture.txt", "notes.txt", "MANIFEST.json"])
def test_damaged_output_is_noticed_named_and_made_again(
    store: Store, damage: Callable[[Path], None], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    paint = Painter()
    first = store.get(KEY, paint)
    damage(first.path / name)
    second = store.get(KEY, paint)
    assert (second.hit, paint.count) == (False, 2)
    assert second.files == first.files
    assert name in caplog.text
    assert store.get(KEY, paint).hit


def test_force_makes_it_again_from_nothing(store: Store) -> None:
    paint = Painter()
    store.get(KEY, paint)
    assert not store.get(KEY, paint, force=True).hit
    assert paint.count == 2


def test_failed_work_leaves_its_files_for_the_next_attempt(store: Store) -> None:
    def fail(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise RuntimeError

    def finish(folder: Path) -> None:
        assert (folder / "half.txt").read_text() == "half"

    with pytest.raises(RuntimeError):
        store.get(KEY, fail)
    assert not store.folder(KEY).exists()
    assert set(store.get(KEY, finish).files) == {"half.txt"}


def test_finished_attempt_that_was_not_yet_renamed_is_a_hit(store: Store) -> None:
    paint = Painter()
    folder = store.get(KEY, paint).path
    folder.rename(folder.with_suffix(".partial"))
    assert store.get(KEY, paint).hit
    assert paint.count == 1


def test_store_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"store=.*cannot be used \(Not a directory\)\. Choose"):
        Store(tmp_path / "file" / "store")


SCRIPT = """
import sys, time
from pathlib import Path
from flows.store.local import StageKey, Store
from mal_core.errors import ConfigError
from mal_core.processes.children import run_child

def work(folder):
    with (folder / "attempts").open("a") as stream:
        stream.write("x")
    {work}

key = StageKey(stage="draw", config={{}}, inputs={{}}, code="")
print("hit" if Store(Path(sys.argv[1])).get(key, work).hit else "made", flush=True)
"""
SLOW_WORK = "time.sleep(0.8)"
# Needs a moment to end after the death signal, as a training does that saves its state.
CHILD = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: time.sleep(1.5) or sys.exit())
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""


def start(root: Path, work: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT.format(work=work), str(root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def wait_for(folder: Path, pattern: str) -> None:
    deadline = time.monotonic() + 60
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_of_several_processes_with_one_key_one_works_and_the_rest_hit(tmp_path: Path) -> None:
    processes = [start(tmp_path, SLOW_WORK) for _ in range(4)]
    answers = [process.communicate()[0].strip() for process in processes]
    assert sorted(answers) == ["hit", "hit", "hit", "made"]
    (attempts,) = tmp_path.glob("draw/*/attempts")
    assert attempts.read_text() == "x"


def test_killed_work_is_continued_by_the_next_process(tmp_path: Path) -> None:
    victim = start(tmp_path, "time.sleep(60)")
    wait_for(tmp_path, "draw/*.partial/attempts")
    victim.kill()
    victim.communicate()
    assert start(tmp_path, "pass").communicate()[0].strip() == "made"
    (attempts,) = tmp_path.glob("draw/*/attempts")
    assert attempts.read_text() == "xx"


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
def test_child_of_a_killed_process_is_gone_before_the_next_attempt_begins(tmp_path: Path) -> None:
    marker = tmp_path / "child_runs"
    call = (
        f"run_child([sys.executable, '-c', {CHILD!r}, {str(marker)!r}], "
        "what='child', log_path=folder / 'log')"
    )
    victim = start(tmp_path, call)
    wait_for(tmp_path, marker.name)
    os.kill(victim.pid, signal.SIGKILL)
    killed = time.monotonic()
    assert start(tmp_path, "pass").communicate()[0].strip() == "made"
    victim.communicate()
    # The orphan finishes its handler first; without the inherited lock this takes 0.3 s.
    assert time.monotonic() - killed > 1.2


def test_digest_of_an_unchanged_file_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = tmp_path / "photo.png"
    photo.write_text("pixels")
    monkeypatch.setattr("flows.store.local.FRESH_NS", -1)  # as if it had lain there for long
    cache = DigestCache(tmp_path / "digests.sqlite")
    first = cache.digest(photo)
    monkeypatch.setattr("flows.store.local.sha256_file", lambda _: pytest.fail("read again"))
    assert cache.digest(photo) == first


def test_touched_file_is_read_again_and_same_content_has_the_same_digest(tmp_path: Path) -> None:
    photo = old_file(tmp_path / "photo.png", "pixels")
    cache = DigestCache(tmp_path / "digests.sqlite")
    first = cache.digest(photo)
    os.utime(photo)
    assert cache.digest(photo) == first
    photo.write_text("pixelz")
    assert cache.digest(photo) == sha256_file(photo) != first


def test_file_changed_a_moment_ago_is_never_taken_from_the_cache(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_text("pixels")
    cache = DigestCache(tmp_path / "digests.sqlite")
    cache.digest(photo)
    status = photo.stat()
    photo.write_text("pixelz")
    os.utime(photo, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert cache.digest(photo) == sha256_file(photo)


def test_absent_file_has_no_digest(tmp_path: Path) -> None:
    assert DigestCache(tmp_path / "digests.sqlite").digest(tmp_path / "nothing") is None


def test_damaged_digest_cache_is_replaced(tmp_path: Path) -> None:
    photo = old_file(tmp_path / "photo.png", "pixels")
    database = tmp_path / "digests.sqlite"
    database.write_bytes(b"no database at all, but long enough to look like one" * 40)
    assert DigestCache(database).digest(photo) == sha256_file(photo)


def test_copy_in_the_working_folder_is_restored_when_altered_or_missing(tmp_path: Path) -> None:
    source = old_file(tmp_path / "store" / "a.txt", "right")
    target, digest = tmp_path / "work" / "a.txt", sha256_file(source)
    assert copy_out(source, target, digest)
    assert not copy_out(source, target, digest)
    target.write_text("wrong")
    assert copy_out(source, target, digest)
    target.unlink()
    assert copy_out(source, target, digest)
    assert target.read_text() == "right"


def old_file(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    os.utime(path, (1e9, 1e9))
    return path
