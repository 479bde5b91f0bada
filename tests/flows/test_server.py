"""Deployments on a real Prefect server with a real worker, read back through its API."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PREFECT = [sys.executable, "-m", "prefect"]
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


class Server:
    """A Prefect server on loopback with its own home, database, worker and deployments."""

    def __init__(self, root: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.root = root
        self.api = f"http://127.0.0.1:{self.port}/api"
        database = f"sqlite+aiosqlite:///{root}/prefect.db"
        self.environment = {
            **os.environ,
            "PREFECT_HOME": str(root / "home"),
            "PREFECT_API_URL": self.api,
            "PREFECT_API_DATABASE_CONNECTION_URL": database,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "OMP_NUM_THREADS": "1",
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str) -> None:
        with (self.root / f"{arguments[0]}.log").open("wb") as log:
            process = subprocess.Popen(
                [*PREFECT, *arguments],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)

    def command(self, *arguments: str) -> str:
        return subprocess.run(
            [*PREFECT, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        head = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.api}{path}", data=data, headers=head)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def wait(self, what: str, ready: Callable[[], Any], seconds: float = 180) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if found := ready():
                    return found
            except (urllib.error.URLError, ConnectionError):
                pass  # not up yet
            time.sleep(0.5)
        logs = "\n".join(path.read_text()[-3000:] for path in self.root.glob("*.log"))
        return pytest.fail(f"no {what} after {seconds:.0f} s\n{logs}")

    def run(self, deployment: str, overrides: list[str]) -> str:
        """`prefect deployment run`; returns the id of the flow run."""
        parameter = f"overrides={json.dumps(overrides)}"
        printed = self.command("deployment", "run", f"mal-pipeline/{deployment}", "-p", parameter)
        return printed.split("UUID: ")[1].split()[0]

    def state(self, run: str) -> str:
        return str(self.ask(f"/flow_runs/{run}")["state_type"])

    def finish(self, run: str) -> str:
        return str(self.wait("end of the run", lambda: {self.state(run)} & FINAL).pop())

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
            process.send_signal(signal.SIGINT)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("prefect"))
    try:
        found.start("server", "start", "--host", "127.0.0.1", "--port", str(found.port))
        found.wait("server", lambda: found.ask("/health"))
        found.start("worker", "start", "--pool", "mal", "--type", "process")
        found.wait("work pool", lambda: found.ask("/work_pools/filter", {}))
        found.command("--no-prompt", "deploy", "--all")
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("places")
    return [f"workdir={root / 'work'}", f"store={root / 'store'}"]


def test_full_deployment_leaves_its_report_as_artifacts(server: Server, tiny, places) -> None:
    run = server.run("full", [*tiny, *places])
    assert server.finish(run) == "COMPLETED", server.logs(run)

    table = json.loads(server.ask("/artifacts/retention-solov2-r18/latest")["data"])
    titles = ["human masks", "pseudo-labels", "retention", "95 % interval"]
    assert [row["trained on"] for row in table] == titles
    cells = [cell for row in table for cell in row.values()]
    assert not {"NaN", "nan", "inf", "Infinity", ""} & set(cells)
    page = server.ask("/artifacts/mal-retention/latest")["data"]
    workdir = Path(places[0].removeprefix("workdir="))
    assert str(workdir / "report.html") in page
    assert "data:image/svg+xml" in page
    assert (workdir / "report.html").is_file()
    assert f"http://127.0.0.1:4280{workdir}/report.html" in page

    for key in ("progress-train-mal", "progress-label-boxes"):
        artifact = server.ask(f"/artifacts/{key}/latest")
        assert (artifact["type"], float(artifact["data"])) == ("progress", 100.0), key
    training = server.ask("/artifacts/progress-train-mal/latest")
    assert training["description"].startswith("train MAL: 6/6 (100 %), ETA 0:00")
    assert f"{workdir}/report.html" in server.ask("/artifacts/mal-report/latest")["data"]

    tasks = server.ask("/task_runs/filter", {"sort": "EXPECTED_START_TIME_ASC"})
    names = [task["name"] for task in tasks]
    assert "train solov2_r18 on human masks, seed 0" in names
    assert "train solov2_r18 on pseudo masks, seed 0" in names
    assert "train MAL: 6/6" in server.logs(run)


def test_single_stage_runs_alone_and_takes_the_rest_from_the_store(
    server: Server, tiny, places
) -> None:
    changes = ["mal.mask_threshold=0.4", "label_shards=2", "label_workers=2"]
    run = server.run("generate-pseudo-labels", [*tiny, *places, *changes])
    assert server.finish(run) == "COMPLETED", server.logs(run)
    tasks = server.ask("/task_runs/filter", {"sort": "EXPECTED_START_TIME_DESC", "limit": 10})
    assert {"label shard 1 of 2", "label shard 2 of 2"} <= {task["name"] for task in tasks}
    log = server.logs(run)
    assert "train-mal: running" not in log
    assert "generate-pseudo-labels: running" in log
    assert "boxes in" in server.ask("/artifacts/mal-labels/latest")["data"]


def test_second_evaluation_shows_the_trend(server: Server, tiny, places) -> None:
    run = server.run("evaluate-retention", [*tiny, *places, "mal.mask_threshold=0.4"])
    assert server.finish(run) == "COMPLETED", server.logs(run)
    page = server.ask("/artifacts/mal-retention/latest")["data"]
    assert "Runs on the same validation data" in page
    assert page.count("data:image/svg+xml") == 2


def test_wrong_setting_fails_the_run_with_its_message(server: Server, tiny, places) -> None:
    run = server.run("train-mal", [*tiny, *places, "mal.max_stepz=3"])
    assert server.finish(run) == "FAILED"
    assert "Did you mean 'mal.max_steps'?" in server.ask(f"/flow_runs/{run}")["state"]["message"]


def test_cancelled_run_is_cancelled_leaves_no_process_and_can_be_continued(
    server: Server, tiny, places, processes_with
) -> None:
    store = places[1].removeprefix("store=")
    run = server.run("train-mal", [*tiny, *places, "mal.max_steps=100000"])
    server.wait("training", lambda: "train MAL: 0/100000" in server.logs(run))
    server.command("flow-run", "cancel", run)
    assert server.finish(run) == "CANCELLED"
    server.wait("end of the child", lambda: not processes_with(store), seconds=20)
    assert list(Path(store).glob("train-mal/*.partial/state.pth"))
