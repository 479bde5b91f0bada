"""`mal cache ... shared=true`: the list, removal, and files that nothing names any more."""

import os
import time
from pathlib import Path

import pytest

from flows.commands.cache_verbs import run_action
from flows.store import shared_contents
from flows.store.local import MANIFEST, StageKey, Store
from flows.store.shared import SharedStore
from mal_core.errors import ConfigError


def key(steps: int) -> StageKey:
    return StageKey(stage="draw", config={"steps": steps}, inputs={}, code="1")


def paint(steps: int, folder: Path) -> None:
    (folder / "picture.txt").write_text(f"{steps} trees")
    (folder / "notes.txt").write_text("green")


def fill(root: Path, url: str, *, count: int = 2) -> SharedStore:
    shared = SharedStore(url)
    for steps in range(count):
        Store(root / "filled", shared=shared).get(key(steps), lambda out, n=steps: paint(n, out))
    return shared


@pytest.fixture(params=["s3", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return str(request.getfixturevalue("place"))
    (tmp_path / "mounted").mkdir()
    return f"file://{tmp_path}/mounted"


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """A shared folder in which a test can make files old; no S3 server allows that."""
    (tmp_path / "mounted").mkdir()
    return tmp_path / "mounted"


def test_listing_has_every_shared_output_with_its_size(url: str, tmp_path: Path) -> None:
    shared = fill(tmp_path, url)
    text = run_action("ls", ["shared=true", f"shared_store={url}"])
    assert all(key(steps).name in text for steps in range(2))
    assert text.count("finished") == 2
    assert text.splitlines()[-1].startswith("2 outputs, ")
    manifest = shared.storage.size(f"{key(0).name}/{MANIFEST}") or 0
    (entry,) = shared_contents.chosen(shared, [key(0).name])
    assert entry.size == manifest + len("0 trees") + len("green")
    assert abs(entry.used - time.time()) < 600


def test_output_at_work_and_damaged_output_are_shown_as_such(url: str, tmp_path: Path) -> None:
    shared = fill(tmp_path, url)
    shared.storage.write(f"{key(0).name}/{MANIFEST}", b"{}")
    shared.storage.write(f"{key(1).name}.lease", b"of a machine")
    rows = run_action("ls", ["shared=true", f"shared_store={url}"]).splitlines()
    assert any(key(0).digest in row and "damaged" in row for row in rows)
    assert any(key(1).digest in row and "at work" in row for row in rows)


def test_removed_output_is_not_fetched_any_more(url: str, tmp_path: Path) -> None:
    shared = fill(tmp_path, url)
    run_action("rm", ["shared=true", f"shared_store={url}", key(0).name[:12]])
    assert not shared.fetch(key(0).name, tmp_path / "fetched", "draw")
    assert shared.fetch(key(1).name, tmp_path / "fetched", "draw")


def test_collection_keeps_what_is_named_or_young(url: str, tmp_path: Path) -> None:
    shared = fill(tmp_path, url)
    shared_contents.remove(shared, shared_contents.chosen(shared, [key(0).name]))
    text = run_action("gc", ["shared=true", f"shared_store={url}"])
    assert "0 files that no output names" in text
    assert len(shared.storage.listing("files")) == 3
    # As if a day had passed: what the other output names stays.
    shared.storage.write(f"{key(0).name}.lease", b"of a machine that was killed")
    number, size = shared_contents.remove_orphans(shared, grace_days=-1)
    assert (number, size) == (1, len("0 trees"))
    assert len(shared.storage.listing()) == 3
    assert shared.fetch(key(1).name, tmp_path / "fetched", "draw")


def test_collection_removes_old_outputs_and_their_files(mounted: Path, tmp_path: Path) -> None:
    given = ["shared=true", f"shared_store=file://{mounted}"]
    fill(tmp_path, f"file://{mounted}")
    then = time.time() - 40 * 86400
    for path in (mounted / key(0).name / MANIFEST, *(mounted / "files").iterdir()):
        os.utime(path, (then, then))
    assert key(0).digest in run_action("gc", [*given, "dry_run=true"])
    assert len(list((mounted / "files").iterdir())) == 3
    assert "1 files that no output names" in run_action("gc", given)
    assert key(0).digest not in run_action("ls", given)
    assert len(list((mounted / "files").iterdir())) == 2


def test_without_a_shared_store_the_wish_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAL_SHARED_STORE", raising=False)
    with pytest.raises(ConfigError, match="there is no shared store"):
        run_action("ls", ["shared=true"])
