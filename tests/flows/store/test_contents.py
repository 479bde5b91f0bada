"""What the store holds, what has changed, and making room without hurting anybody."""

import fcntl
import itertools
import os
import time
from pathlib import Path

import pytest

from flows.commands.cache_verbs import run_action
from flows.store import contents
from flows.store.local import MANIFEST, StageKey, Store
from mal_core.errors import ConfigError


def key(steps: int, stage: str = "draw", **inputs: str) -> StageKey:
    return StageKey(stage=stage, config={"steps": steps, "sub": {"a": 1}}, inputs=inputs, code="1")


def paint(folder: Path) -> None:
    (folder / "picture.txt").write_text("a tree")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def days_ago(folder: Path, days: float) -> None:
    then = time.time() - days * 86400
    for path in (folder / MANIFEST, *folder.iterdir(), folder):
        if path.exists():
            os.utime(path, (then, then))


def attempt(store: Store, one: StageKey) -> Path:
    """What a kill leaves."""
    folder = store.attempt(one)
    folder.mkdir(parents=True)
    (folder / "half.txt").write_text("half")
    return folder


def test_listing_has_every_output_with_its_size_and_the_sum(store: Store) -> None:
    store.get(key(1), paint)
    attempt(store, key(2))
    text = run_action("ls", [f"store={store.root}"])
    assert f"draw/{key(1).digest}" in text
    assert "finished" in text
    assert "unfinished" in text
    assert text.splitlines()[-1].startswith("2 outputs, ")
    assert (
        run_action("ls", [f"store={store.root}", f"draw/{key(2).digest[:6]}"]).count("draw/") == 1
    )


def test_reuse_keeps_an_output_and_disuse_loses_it(store: Store) -> None:
    used, unused = store.get(key(1), paint), store.get(key(2), paint)
    for stored in (used, unused):
        days_ago(stored.path, 40)
    store.get(key(1), paint)
    old_attempt, new_attempt = attempt(store, key(3)), attempt(store, key(4))
    days_ago(old_attempt, 40)
    would = run_action("gc", [f"store={store.root}", "dry_run=true"])
    assert key(2).digest in would
    assert unused.path.exists()
    run_action("gc", [f"store={store.root}"])
    assert used.path.exists()
    assert new_attempt.exists()
    assert not unused.path.exists()
    assert not old_attempt.exists()


def test_what_a_process_works_on_is_left_alone(store: Store) -> None:
    stored = store.get(key(1), paint)
    with stored.path.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "at work" in run_action("ls", [f"store={store.root}"])
        days_ago(stored.path, 40)
        assert key(1).digest not in run_action("gc", [f"store={store.root}", "dry_run=true"])
        assert run_action("rm", [f"store={store.root}", "draw"]).endswith("0 outputs, 0 B")
        assert stored.path.exists()
    run_action("rm", [f"store={store.root}", "draw"])
    assert not stored.path.exists()


def test_a_removed_output_is_made_again(store: Store) -> None:
    path = store.get(key(1), paint).path
    run_action("rm", [f"store={store.root}", f"draw/{key(1).digest[:8]}"])
    assert not path.exists()
    assert not store.get(key(1), paint).hit


@pytest.mark.parametrize(
    ("action", "arguments", "message"),
    [
        ("rm", [], "name what to remove"),
        ("rm", [""], "name what to remove"),
        ("rm", ["drawn"], "no such output"),
        ("rm", ["draw/"], None),
        ("gc", ["days=soon"], "days=NUMBER"),
        ("gc", ["draw"], "days=NUMBER"),
    ],
)
def test_what_means_nothing_is_refused(action, arguments, message, store: Store) -> None:
    store.get(key(1), paint)
    given = [f"store={store.root}", *arguments]
    if message is None:
        assert "1 outputs" in run_action(action, given)
        return
    with pytest.raises(ConfigError, match=message):
        run_action(action, given)


def test_an_ambiguous_beginning_is_refused(store: Store) -> None:
    for steps in range(40):
        store.get(key(steps), paint)
    first = sorted(key(steps).digest for steps in range(40))
    shared = next(a[:1] for a, b in itertools.pairwise(first) if a[0] == b[0])
    with pytest.raises(ConfigError, match="Give more of the key"):
        contents.chosen(store.root, [f"draw/{shared}"])


def test_differences_name_what_changed_against_the_nearest_output(store: Store) -> None:
    store.get(key(1, boxes="a" * 64), paint)
    store.get(key(7, boxes="b" * 64), paint)
    assert contents.differences(key(7, boxes="c" * 64), store.root) == [
        "inputs.boxes: bbbbbbbb... -> cccccccc..."
    ]
    assert contents.differences(key(1, stage="other"), store.root) == [
        "the store has no output of this stage"
    ]
    unlike = StageKey(stage=key(1).stage, config={"a": 1, "b": 2, "c": 3}, inputs={}, code="1")
    assert contents.differences(unlike, store.root) == [
        "the store has no output of this stage that was made in such a way"
    ]


def test_a_damaged_output_is_named_as_such(store: Store) -> None:
    stored = store.get(key(1), paint)
    (stored.path / "picture.txt").write_text("altered")
    store.get(key(2), paint)
    with pytest.raises(contents.WouldRunError):
        contents.LookingStore(store.root, ()).get(key(1), paint)
    assert contents.differences(key(1), store.root) == ["config.steps: 2 -> 1"]
