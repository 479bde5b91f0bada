"""Leases: one holder at a time, dead ones are found by watching, never by comparing clocks."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.lifetime import interruption
from flows.store import leases
from flows.store.leases import Lease
from flows.store.object_storage import ObjectStorage

NAME = "draw/key.lease"


@pytest.fixture(params=["s3", "file"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStorage:
    if request.param == "s3":
        return ObjectStorage(request.getfixturevalue("place"))
    return ObjectStorage(f"file://{tmp_path}")


@pytest.fixture
def folder(tmp_path: Path) -> ObjectStorage:
    return ObjectStorage(f"file://{tmp_path}")


def lease(storage: ObjectStorage, renew_s: float) -> Lease:
    return Lease(storage, NAME, title="draw", renew_s=renew_s)


def never() -> bool:
    return False


def test_free_lease_is_ours_at_once_and_gone_after(storage: ObjectStorage) -> None:
    mine = lease(storage, 60)
    assert mine.acquire(never) is True
    with mine.held():
        assert storage.read(NAME) is not None
    assert storage.read(NAME) is None


def test_held_lease_is_renewed(storage: ObjectStorage) -> None:
    mine = lease(storage, 0.05)
    assert mine.acquire(never) is True
    first = storage.read(NAME)
    with mine.held():
        deadline = time.monotonic() + 60
        while storage.read(NAME) == first:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert storage.read(NAME) is None


def test_lease_that_changes_is_waited_for_however_long(
    folder: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = time_of_a_waiter(monkeypatch)
    folder.create(NAME, b"0")
    seen = []

    def ready() -> bool:
        next(clock)
        seen.append(len(seen))
        folder.write(NAME, b"%d" % len(seen))
        return len(seen) == 30

    assert lease(folder, 0.01).acquire(ready) is None
    assert folder.read(NAME) == b"30"


def time_of_a_waiter(monkeypatch: pytest.MonkeyPatch) -> Iterator[float]:
    """A clock that goes on by three periods of 0.01 s whenever it is advanced."""
    now = [0.0]
    monkeypatch.setattr(leases.time, "monotonic", lambda: now[0])

    def advance() -> Iterator[float]:
        while True:
            now[0] += 0.03
            yield now[0]

    return advance()


def test_lease_that_does_not_change_is_taken_over_and_its_old_holder_gives_in(
    storage: ObjectStorage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="flows")
    old, new = lease(storage, 0.05), lease(storage, 0.05)
    assert old.acquire(never) is True  # never renewed: as if its machine slept
    assert new.acquire(never) is False
    assert "waiting" in caplog.text
    assert "taking over" in caplog.text
    with new.held():
        with old.held():
            deadline = time.monotonic() + 60
            while "another machine took over" not in caplog.text:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        assert storage.read(NAME) is not None  # the old one leaves the new one's lease alone
    assert storage.read(NAME) is None


def test_waiting_ends_when_the_result_is_there(folder: ObjectStorage) -> None:
    folder.create(NAME, b"of another")
    assert lease(folder, 60).acquire(lambda: True) is None
    assert folder.read(NAME) == b"of another"


def test_waiting_in_a_thread_ends_when_the_user_asked(
    folder: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.create(NAME, b"of another")
    reasons: list[BaseException] = []
    monkeypatch.setattr(interruption, "_reasons", reasons)
    with pytest.raises(KeyboardInterrupt):
        lease(folder, 0.01).acquire(lambda: bool(reasons.append(KeyboardInterrupt())))
