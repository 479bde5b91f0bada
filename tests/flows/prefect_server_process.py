"""A Prefect server in processes of its own, for tests that speak to a real one."""

import contextlib
import http
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mal_core.processes.nodes import free_port
from tests.flows.prefect_home import NAME, READY, bring_database

ROOT = Path(__file__).resolve().parents[2]
PREFECT = [sys.executable, "-m", "tests.flows.prefect_command"]
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
BUSY_TRIES = 30


class Server:
    """A Prefect server on loopback with its own home, worker and deployments.

    Args:
        root: Folder of its logs, its home and, unless told otherwise, its database.
        database: SQLAlchemy address of the database; without one SQLite in `root`, ready for use.
        variables: More environment for every command of this server.
    """

    def __init__(self, root: Path, database: str | None = None, **variables: str) -> None:
        self.root = root
        self.port = free_port()
        if database is None:
            bring_database(root / NAME)
            variables = {**READY, **variables}
        self.api = f"http://127.0.0.1:{self.port}/api"
        self.environment = {
            **os.environ,
            "PREFECT_HOME": str(root / "home"),
            "PREFECT_API_URL": self.api,
            "PREFECT_API_DATABASE_CONNECTION_URL": database or f"sqlite+aiosqlite:///{root / NAME}",
            "OMP_NUM_THREADS": "1",
            "PREFECT_WORKER_QUERY_SECONDS": "2",  # tests need not wait the usual 10 s for a start
            **variables,
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.root / f"{arguments[0]}.log").open("ab") as log:
            process = subprocess.Popen(
                [*PREFECT, *arguments],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def start_api(self, *options: str) -> subprocess.Popen[bytes]:
        """Start the server itself; `wait_for_api` tells when it answers."""
        place = ["--host", "127.0.0.1", "--port", str(self.port)]
        return self.start("server", "start", *place, *options)

    def server_process(self) -> subprocess.Popen[bytes]:
        """The server itself, as long as it runs."""
        (found,) = [one for one in self.processes if "server" in one.args and one.poll() is None]
        return found

    def restart_api(self) -> None:
        """Kill the server and start it again on its database."""
        process = self.server_process()
        process.kill()
        process.wait()
        self.start_api()
        self.wait_for_api()

    def wait_for_api(self) -> None:
        self.wait("server", lambda: self.ask("/health"))

    def start_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker and wait until it has created its pool."""
        process = self.start("worker", "start", "--pool", "mal", "--type", "process")
        self.wait("work pool", lambda: self.ask("/work_pools/filter", {}))
        return process

    def command(self, *arguments: str) -> str:
        done = subprocess.run(
            [*PREFECT, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """What the API answers, None for nothing; `prefect` commands cost three CPU seconds more.

        Args:
            path: Behind `/api`.
            body: JSON to send.
            method: POST with a body and GET without one, unless told otherwise.
        """
        data = None if body is None else json.dumps(body).encode()
        head = {"Content-Type": "application/json"}
        place = f"{self.api}{path}"
        request = urllib.request.Request(place, data=data, headers=head, method=method)
        for _ in range(BUSY_TRIES):  # 503: its database is locked; Prefect's own client asks again
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    text = answer.read()
                return json.loads(text) if text else None
            except urllib.error.HTTPError as error:
                if error.code != http.HTTPStatus.SERVICE_UNAVAILABLE:
                    raise
                time.sleep(2)
        raise TimeoutError(f"{place} was busy {BUSY_TRIES} times")

    def wait(
        self, what: str, ready: Callable[[], Any], seconds: float = 600, every: float = 0.5
    ) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if found := ready():
                    return found
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                pass  # not up yet
            time.sleep(every)
        logs = "\n".join(path.read_text()[-3000:] for path in self.root.glob("*.log"))
        return pytest.fail(f"no {what} after {seconds:.0f} s\n{logs}")

    def run(self, deployment: str, overrides: list[str]) -> str:
        """Queue a run through the API; returns the id of the flow run.

        The deployment adds its own parameters. The command that does the same takes seconds of
        CPU to start: only the test that shows it uses `run_by_command`.
        """
        name = f"/deployments/name/mal-pipeline/{deployment}"
        found = self.wait("deployment", lambda: self.ask(name)["id"])
        body = {
            "parameters": {"overrides": overrides},
            "idempotency_key": uuid.uuid4().hex,  # SQLite in trouble answers 503: asked again
        }
        place = f"/deployments/{found}/create_flow_run"
        return str(self.wait("queued run", lambda: self.ask(place, body)["id"]))

    def run_by_command(self, deployment: str, overrides: list[str]) -> str:
        """`prefect deployment run`, as an operator types it; returns the id of the flow run."""
        parameter = f"overrides={json.dumps(overrides)}"
        printed = self.command("deployment", "run", f"mal-pipeline/{deployment}", "-p", parameter)
        return printed.split("UUID: ")[1].split()[0]

    def refuses_to_write(self) -> bool:
        """Whether the server answers a change with an error, as with a read-only database."""
        try:
            self.ask("/variables/", {"name": uuid.uuid4().hex, "value": 1})
        except urllib.error.HTTPError as error:
            return error.code >= 500
        return False

    def all_ended(self, runs: set[str]) -> bool:
        ended = {
            "flow_runs": {"id": {"any_": list(runs)}, "state": {"type": {"any_": list(FINAL)}}}
        }
        return bool(self.ask("/flow_runs/count", ended) == len(runs))

    def task_runs(self, run: str) -> list[dict[str, str]]:
        """Task runs of a run and of its subflows."""
        body = {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}}
        ids = [run, *(child["id"] for child in self.ask("/flow_runs/filter", body))]
        chosen = {"flow_runs": {"id": {"any_": ids}}}
        return list(self.ask("/task_runs/filter", chosen))

    def runs_of(self, deployment: str) -> list[str]:
        """Ids of all flow runs of a deployment."""
        body = {"deployments": {"id": {"any_": [deployment]}}}
        return [str(run["id"]) for run in self.ask("/flow_runs/filter", body)]

    def state(self, run: str) -> str:
        return str(self.ask(f"/flow_runs/{run}")["state_type"])

    def finish(self, run: str, seconds: float = 600) -> str:
        """Wait for the end of a run; returns the type of its last state.

        A run lasts a minute, and each question costs the server ten milliseconds.
        """
        ended = self.wait("end of the run", lambda: {self.state(run)} & FINAL, seconds, every=2)
        return str(ended.pop())

    def cancel(self, run: str) -> None:
        """What `prefect flow-run cancel` asks for."""
        self.ask(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})

    def logs(self, run: str) -> str:
        """Messages of a run and of its subflows."""
        children = self.ask(
            "/flow_runs/filter",
            {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}},
        )
        ids = [run, *(child["id"] for child in children)]
        lines = self.ask("/logs/filter", {"logs": {"flow_run_id": {"any_": ids}}, "limit": 200})
        return "\n".join(line["message"] for line in lines)

    def stop(self) -> None:
        for process in reversed(self.processes):  # the worker before its server
            if process.poll() is not None:
                continue
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@contextlib.contextmanager
def taking_turns(server: Server) -> Iterator[None]:
    """One training at a time, as the deployments' tag allows."""
    server.ask("/concurrency_limits/", {"tag": "mal-gpu", "concurrency_limit": 1})
    try:
        yield
    finally:
        server.ask("/concurrency_limits/tag/mal-gpu", method="DELETE")


def most_at_once(runs: list[dict[str, str]]) -> int:
    """How many runs overlapped at most."""
    moments = [(run["start_time"], 1) for run in runs] + [(run["end_time"], -1) for run in runs]
    running = most = 0
    for _, step in sorted(moments):
        running += step
        most = max(most, running)
    return most


@contextlib.contextmanager
def answering(server: Server) -> Iterator[Server]:
    """The server alone, once it answers; stopped at the end."""
    try:
        server.start_api()
        server.wait_for_api()
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """The server with a worker and all deployments; stopped at the end."""
    with answering(server):
        server.start_worker()
        server.command("--no-prompt", "deploy", "--all")
        yield server
