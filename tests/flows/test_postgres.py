"""The Prefect server on a real PostgreSQL, which also restarts and goes away."""

import contextlib
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.flows.held_training import hold_training, signal_all
from tests.flows.postgres_process import Postgres, running_postgres
from tests.flows.prefect_server_process import Server, running

pytestmark = pytest.mark.slow

AWAY_SECONDS = 10


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as found:
        yield found


@pytest.fixture(scope="module")
def server(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(Server(tmp_path_factory.mktemp("prefect"), postgres.url)) as found:
        yield found


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("places")
    return [f"workdir={root / 'work'}", f"store={root / 'store'}"]


def state_in(postgres: Postgres, run: str) -> str:
    """The state of a flow run as the database holds it."""
    rows = postgres.query(f"SELECT state_type FROM flow_run WHERE id = '{run}'")
    return str(rows[0]["state_type"])


def times_of(folder: Path, pattern: str) -> set[int]:
    """When files were written last; none that is gone."""
    found = set()
    for path in folder.glob(pattern):
        with contextlib.suppress(FileNotFoundError):
            found.add(path.stat().st_mtime_ns)
    return found


@pytest.fixture(scope="module")
def training(tiny, places) -> list[str]:
    """The labeler; what segmenters come to is shown elsewhere."""
    return [*tiny, *places, "data.name=scenes", "mal.max_steps=40", "mal.checkpoint_every=10"]


def test_training_goes_on_while_the_database_is_away_and_its_run_completes(
    server: Server, postgres: Postgres, training, places, processes_with
) -> None:
    store = places[1].removeprefix("store=")
    run = server.run("train-mal", training)
    saved = partial(times_of, Path(store), "train-mal/*.partial/state.pth")
    server.wait("training", saved, every=0.1)
    held = hold_training(Path(store))
    children = processes_with(store)
    assert held

    postgres.stop("immediate")
    time.sleep(AWAY_SECONDS)
    assert processes_with(store) == children
    before = saved()
    signal_all(held, signal.SIGCONT)
    server.wait("progress", lambda: saved() != before, every=0.1)
    postgres.start()
    assert server.finish(run) == "COMPLETED", server.logs(run)
    assert state_in(postgres, run) == "COMPLETED"
    assert server.logs(run).count("train-mal: running") == 1
    server.wait("end of the child", lambda: not processes_with(store), seconds=20)


def test_server_and_worker_survive_a_restart_of_the_database_which_has_the_runs_rows(
    server: Server, postgres: Postgres, training
) -> None:
    postgres.stop()
    postgres.start()
    server.wait("answer after the restart", lambda: server.ask("/ready"))
    run = server.run("generate-pseudo-labels", training)
    assert server.finish(run) == "COMPLETED", server.logs(run)
    assert state_in(postgres, run) == "COMPLETED"
    assert "boxes in" in server.ask("/artifacts/labels-scenes/latest")["data"]
    rows = postgres.query("SELECT DISTINCT key FROM artifact")
    assert {"labels-scenes", "progress-label-boxes"} <= {row["key"] for row in rows}
