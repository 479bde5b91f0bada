"""Earlier output by name."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.settings import composing
from flows.stages import session
from flows.store.local import StageKey, Store
from mal_core.errors import ConfigError

Overrides = list[str]


def write_checkpoint(folder: Path) -> None:
    (folder / "checkpoint.pth").write_text("weights")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def trained(store: Store, code: str, *, used: float) -> Path:
    """A finished training that was last used at some time."""
    key = StageKey(stage="train-mal", config={}, inputs={}, code=code)
    folder = store.get(key, write_checkpoint).path
    os.utime(folder / "MANIFEST.json", (used, used))
    return folder


def compose(store: Store, files: Callable[..., Overrides], *overrides: str) -> composing.RunConfig:
    return composing.compose([*files(), f"store={store.root}", *overrides])


def test_latest_is_what_was_made_or_used_last(store: Store, files) -> None:
    trained(store, "a", used=1000)
    newest = trained(store, "b", used=3000)
    trained(store, "c", used=2000)
    config = compose(store, files, "checkpoint=latest")
    assert config.checkpoint == newest / "checkpoint.pth"
    assert not config.trains_labeler


def test_an_output_is_named_as_the_cache_lists_it(store: Store, files) -> None:
    wanted = trained(store, "a", used=1000)
    trained(store, "b", used=3000)
    config = compose(store, files, f"checkpoint=train-mal/{wanted.name[:12]}")
    assert config.checkpoint == wanted / "checkpoint.pth"


@pytest.mark.parametrize("name", ["latest", "train-mal/00"])
def test_what_the_store_lacks_is_refused_with_advice(store: Store, files, name: str) -> None:
    with pytest.raises(ConfigError, match=f"checkpoint={name}: .*mal cache ls"):
        compose(store, files, f"checkpoint={name}")


def test_unfinished_output_is_refused(store: Store, files) -> None:
    (store.root / "train-mal" / "0123.partial").mkdir(parents=True)
    with pytest.raises(ConfigError, match="not finished"):
        compose(store, files, "checkpoint=latest")


def test_a_run_keeps_the_output_that_was_the_latest_when_it_began(store: Store, files) -> None:
    first = trained(store, "a", used=1000)
    given = [*files(), f"store={store.root}", "checkpoint=latest", "seed=3"]
    with session.joined() as opened:
        assert opened.config(given).checkpoint == first / "checkpoint.pth"
        newer = trained(store, "b", used=3000)
        with session.joined() as same:
            assert same.config(given).checkpoint == first / "checkpoint.pth"
    with session.joined() as opened:
        assert opened.config(given).checkpoint == newer / "checkpoint.pth"


def test_a_file_of_that_name_is_reached_by_its_path(
    store: Store, files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latest").write_text("weights")
    assert compose(store, files, "checkpoint=./latest").checkpoint == tmp_path / "latest"


@pytest.mark.parametrize("name", ["lastest", "generate-pseudo-labels/3", "train-mal"])
def test_a_name_of_nothing_comes_with_the_ways_to_name_an_output(
    store: Store, files, name: str
) -> None:
    with pytest.raises(ConfigError, match="latest, or train-mal/KEY"):
        compose(store, files, f"checkpoint={name}")


def test_a_labeler_in_place_of_its_masks_comes_with_the_command_that_makes_them(
    store: Store, files
) -> None:
    with pytest.raises(ConfigError) as refused:
        compose(store, files, "pseudo_labels=grabcut")
    told = str(refused.value)
    assert "`mal label labeler=grabcut output=masks.json` makes one" in told
    assert told.endswith("pseudo_labels=masks.json.")


def test_it_says_which_output_it_takes(
    store: Store, files, caplog: pytest.LogCaptureFixture
) -> None:
    newest = trained(store, "said", used=4000)
    name = "flows.settings.upstream"
    with caplog.at_level("INFO", logger=name):
        compose(store, files, "checkpoint=latest")
        compose(store, files, "checkpoint=latest")
    # Of this logger: a command that ran before in this process has opened the others.
    said = [record.getMessage() for record in caplog.records if record.name == name]
    assert said == [f"checkpoint=latest: train-mal/{newest.name}"]
