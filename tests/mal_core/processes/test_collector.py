"""Imports are not searched for garbage, and the collector is afterwards as it was."""

import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from mal_core.processes.collector import uncollected_imports

FROZEN_AT_THE_END = """
import atexit, gc
from mal_core.processes.collector import end_uncollected
atexit.register(lambda: print(gc.get_freeze_count() > 1000, gc.isenabled()))
end_uncollected()
print(gc.get_freeze_count())
"""


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.parametrize("enabled", [True, False])
def test_nothing_is_collected_inside_and_what_was_made_is_never_looked_through(
    enabled: bool,
) -> None:
    gc.unfreeze()
    if not enabled:
        gc.disable()
    before = sum(one["collections"] for one in gc.get_stats())
    with uncollected_imports():
        made = [[] for _ in range(100_000)]
        assert sum(one["collections"] for one in gc.get_stats()) == before
    assert gc.get_freeze_count() >= len(made)
    assert gc.isenabled() is enabled


def test_an_import_that_fails_leaves_the_collector_at_work() -> None:
    with pytest.raises(ImportError), uncollected_imports():
        raise ImportError
    assert gc.isenabled()


def test_a_process_is_frozen_at_its_end_only() -> None:
    command = [sys.executable, "-c", FROZEN_AT_THE_END]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["0", "True True"]
