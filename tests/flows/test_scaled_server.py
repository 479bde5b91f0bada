"""Two Prefect servers on one PostgreSQL, with Redis between them, as docker-compose.scale.yml."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from mal_core.processes.nodes import free_port
from tests.compose_files import SCALE, read
from tests.flows.postgres_process import running_postgres
from tests.flows.prefect_server_process import Server

pytestmark = pytest.mark.slow

COMPLETED = {"filter": {"event": {"name": ["prefect.flow-run.Completed"]}}}


def shared_variables(redis: str) -> dict[str, str]:
    """What every server of the compose file gets, but for the database and Redis's address."""
    return {
        name: value.replace("redis:6379", redis)
        for name, value in read(SCALE)["x-shared"].items()
        if not name.startswith("PREFECT_SERVER_DATABASE_") or name.endswith("_MIGRATE_ON_START")
    }


@contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    """A Redis server of its own on loopback; its address."""
    if shutil.which("redis-server") is None:
        pytest.skip("no Redis server here (Debian: apt-get install redis-server)")
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(["redis-server", *options], cwd=folder, stdout=log, stderr=log)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(15)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Two servers that only answer requests; the background services run beside them."""
    root = tmp_path_factory.mktemp("scaled")
    with ExitStack() as stack:
        redis = stack.enter_context(running_redis(root))
        database = stack.enter_context(running_postgres()).url
        members = {}
        for name in ("services", "first", "second"):
            (root / name).mkdir()
            members[name] = Server(root / name, database, **shared_variables(redis))
            stack.callback(members[name].stop)
        members["services"].command("server", "database", "upgrade", "--yes")
        register = read(SCALE)["services"]["block-types"]["command"]
        environment = members["services"].environment
        subprocess.run([sys.executable, "-c", *register], env=environment, check=True)
        members["services"].start("server", "services", "start")
        first, second = members["first"], members["second"]
        for server in (first, second):
            server.start_api("--no-services")
        for server in (first, second):
            server.wait_for_api()
        first.start_worker()
        second.command("--no-prompt", "deploy", "--name", "train-mal")
        yield first, second


def test_a_run_submitted_to_one_server_is_seen_through_the_other(
    servers: tuple[Server, Server], tiny, tmp_path: Path
) -> None:
    first, second = servers
    places = [f"workdir={tmp_path / 'work'}", f"store={tmp_path / 'store'}"]
    run = second.run("train-mal", [*tiny, *places])
    assert first.finish(run) == "COMPLETED", first.logs(run)
    assert second.state(run) == "COMPLETED"
    assert "train MAL: 6/6" in second.logs(run)

    # Events reach the database only through Redis and the background services.
    def seen(server: Server) -> bool:
        events = server.ask("/events/filter", COMPLETED)["events"]
        return any(event["resource"]["prefect.resource.id"].endswith(run) for event in events)

    for server in servers:
        server.wait("event of the run", lambda server=server: seen(server), seconds=60)
