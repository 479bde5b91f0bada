"""Every test: one OpenMP thread, fixed seeds, own Prefect home and store, no telemetry."""

import gc
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cpu_times import CpuTimes

ROOT = Path(__file__).resolve().parent.parent
SCRATCH = Path(tempfile.mkdtemp(prefix="mal-tests-"))
# The processes of one session inherit the folder of the first.
os.environ.setdefault("MAL_TESTS_SHARED", str(SCRATCH))
# Set before any test module imports Prefect or torch; children inherit all of it.
os.environ.update(
    OMP_NUM_THREADS="1",
    PREFECT_HOME=str(SCRATCH / "prefect"),
    MAL_STORE=str(SCRATCH / "store"),
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    DO_NOT_TRACK="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_OFFLINE="1",
)
# Nor does a child inherit that it must compile and parse our sources anew.
for name in ("PREFECT_API_URL", "MAL_PROGRESS", "MAL_SHARED_STORE", "PYTHONDONTWRITEBYTECODE"):
    os.environ.pop(name, None)
os.environ["PYTHONPATH"] = os.pathsep.join(
    part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part
)
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
# What a script starts in the background ignores SIGINT, and so would every child that is sent one.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cpu-times", type=int, metavar="N", help="list the N longest by CPU seconds")


def pytest_configure(config: pytest.Config) -> None:
    if count := config.getoption("--cpu-times"):
        config.pluginmanager.register(CpuTimes(count))


LONGEST = (
    "test_drills.py",
    "test_full_size.py",
    "test_runner.py",
    "test_shards.py",
    "test_end_to_end.py",
)
"""Files that take minutes (`--cpu-times` lists them)."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of quick tests first, so that what is wrong shows early.

    Of the others the longest first: with two processes none of them is left for last.
    """
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    rank = {name: number for number, name in enumerate(LONGEST)}

    def place(item: pytest.Item) -> tuple[bool, int, int]:
        count = slow[item.path]
        return count > 0, rank.get(item.path.name, len(rank)), -count

    items.sort(key=place)


# What all test modules import stays until the end: nothing of it is ever looked through as garbage.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    shutil.rmtree(SCRATCH, ignore_errors=True)
    gc.freeze()


@pytest.fixture(autouse=True)
def _seeds() -> None:
    random.seed(0)
    # Not every test file pays for importing torch and numpy.
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def _loggers() -> Iterator[None]:
    """A test that shows our log lines does not show them for the tests after it."""
    loggers = [logging.getLogger(name) for name in ("flows", "mal_core")]
    before = [(one.level, one.propagate, list(one.handlers)) for one in loggers]
    yield
    for logger, (level, propagate, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.propagate = propagate
        logger.handlers = handlers
