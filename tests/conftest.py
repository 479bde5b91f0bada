"""Every test: one OpenMP thread, fixed seeds, own Prefect home and store, no telemetry."""

import logging
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRATCH = Path(tempfile.mkdtemp(prefix="mal-tests-"))
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
for name in ("PREFECT_API_URL", "MAL_PROGRESS", "MAL_SHARED_STORE"):
    os.environ.pop(name, None)
os.environ["PYTHONPATH"] = os.pathsep.join(
    part for part in (str(ROOT), os.environ.get("PYTHONPATH")) if part
)
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with many slow cases first: with two processes none of them is left for last."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def pytest_unconfigure() -> None:
    shutil.rmtree(SCRATCH, ignore_errors=True)


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
