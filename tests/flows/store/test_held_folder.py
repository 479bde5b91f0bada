"""A store that somebody removes under a run: one sentence, and never half an output."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.store.local import DigestCache, StageKey, Store
from mal_core.errors import ArtifactError, ConfigError

KEY = StageKey(stage="draw", config={}, inputs={}, code="1")


def remove(folder: Path) -> None:
    shutil.rmtree(folder.parents[1])


def and_make_again(folder: Path) -> None:
    """As a child does that writes its next file with all folders above it."""
    remove(folder)
    folder.mkdir(parents=True)
    (folder / "late.txt").write_text("half")


def and_fail(folder: Path) -> None:
    remove(folder)
    (folder / "a.txt").write_text("")


@pytest.mark.parametrize("what", [remove, and_make_again, and_fail])
def test_a_removed_store_is_said_and_what_came_after_is_no_output(
    what: Callable[[Path], None], tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(ArtifactError) as caught:
        store.get(KEY, what)
    assert str(caught.value) == (
        f"draw: {store.attempt(KEY)} was removed while the stage was at work in it. The same "
        "command makes it again; `mal cache rm` leaves alone what is at work."
    )
    assert not store.attempt(KEY).exists()
    assert not store.folder(KEY).exists()


def test_an_error_in_a_folder_that_stayed_is_itself(tmp_path: Path) -> None:
    def fail(_folder: Path) -> None:
        message = "a setting"
        raise ConfigError(message)

    with pytest.raises(ConfigError, match=r"^a setting$"):
        Store(tmp_path / "store").get(KEY, fail)


def test_digests_of_a_removed_store_are_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    cache = DigestCache(tmp_path / "store" / "digests.sqlite")
    message = f"^store={tmp_path / 'store'} was removed under this run. Start it again.$"
    with pytest.raises(ArtifactError, match=message):
        cache.digest(tmp_path / "a.txt")
