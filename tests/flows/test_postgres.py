"""The Prefect server on a real PostgreSQL, which also restarts and goes away."""

import json
import time
from collections.abc import Iterator

import pytest

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


def test_full_deployment_completes_and_its_rows_are_in_postgresql(
    server: Server, postgres: Postgres, tiny, places
) -> None:
    run = server.run("full", [*tiny, *places, "data.name=scenes"])
    assert server.finish(run) == "COMPLETED", server.logs(run)
    assert state_in(postgres, run) == "COMPLETED"
    assert json.loads(server.ask("/artifacts/retention-scenes-solov2-r18/latest")["data"])
    rows = postgres.query("SELECT DISTINCT key FROM artifact")
    assert {"retention-scenes", "retention-scenes-solov2-r18"} <= {row["key"] for row in rows}


def test_server_and_worker_survive_a_restart_of_the_database(
    server: Server, postgres: Postgres, tiny, places
) -> None:
    postgres.stop()
    postgres.start()
    server.wait("answer after the restart", lambda: server.ask("/ready"))
    run = server.run("evaluate-retention", [*tiny, *places])
    assert server.finish(run) == "COMPLETED", server.logs(run)
    assert state_in(postgres, run) == "COMPLETED"


def test_training_goes_on_while_the_database_is_away_and_its_run_completes(
    server: Server, postgres: Postgres, tiny, places, processes_with
) -> None:
    store = places[1].removeprefix("store=")
    run = server.run("train-mal", [*tiny, *places, "mal.max_steps=800"])
    server.wait("training", lambda: "train MAL: 0/800" in server.logs(run))
    children = processes_with(store)
    assert children

    postgres.stop("immediate")
    time.sleep(AWAY_SECONDS)
    assert processes_with(store) == children
    postgres.start()
    assert server.finish(run) == "COMPLETED", server.logs(run)
    assert state_in(postgres, run) == "COMPLETED"
    assert server.logs(run).count("train-mal: running") == 1
    server.wait("end of the child", lambda: not processes_with(store), seconds=20)
