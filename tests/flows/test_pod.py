"""What a Kubernetes pod of our work pool does, without Kubernetes: its command, its variables."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

from tests.flows.held_training import any_asked_to_end, hold_training, signal_all
from tests.flows.prefect_server_process import Server, answering
from tests.work_pools.pools import configuration

pytestmark = pytest.mark.slow

GRACE_SECONDS = 120  # terminationGracePeriodSeconds of the pool
PATIENCE_SECONDS = 900
STATE = "train-mal/*.partial/state.pth"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server with one deployment in the Kubernetes pool, and no worker."""
    with answering(Server(tmp_path, PREFECT_DEFAULT_WORK_POOL_NAME="mal-kubernetes")) as found:
        template = ("--base-job-template", "work_pools/kubernetes.json")
        found.command("work-pool", "create", "mal-kubernetes", "--type", "kubernetes", *template)
        found.command("--no-prompt", "deploy", "--name", "train-mal")
        yield found


@contextmanager
def running_pod(server: Server, run: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The main process of the pod, in a folder that knows nothing of the project."""
    made = configuration(KubernetesWorkerJobConfiguration, "kubernetes")
    (container,) = made.job_manifest["spec"]["template"]["spec"]["containers"]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ours = {**server.environment, "PREFECT__FLOW_RUN_ID": run, "PATH": path}
    with log.open("ab") as file:
        pod = subprocess.Popen(
            [*container["command"], *container["args"]],
            cwd=log.parent,
            env={**variables, **ours},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield pod
    finally:
        if pod.poll() is None:
            os.killpg(pod.pid, signal.SIGKILL)
            pod.wait()


def test_an_evicted_pod_saves_its_training_and_the_next_pod_continues_it(
    server: Server, tiny, tmp_path: Path, processes_with
) -> None:
    store = tmp_path / "store"
    places = [f"workdir={tmp_path / 'work'}", f"store={store}", "mal.max_steps=60"]
    run = server.run("train-mal", [*tiny, *places])
    log = tmp_path / "pod.log"
    with running_pod(server, run, log) as pod:
        server.wait("checkpoint", lambda: list(store.glob(STATE)), every=0.1)
        held = hold_training(store)
        pod.send_signal(signal.SIGTERM)  # as the kubelet does, to the first process only
        server.wait("end of the training", lambda: any_asked_to_end(held), every=0.1)
        signal_all(held, signal.SIGCONT)
        pod.wait(GRACE_SECONDS)
        assert processes_with(str(store)) == []
    # The worker would now start another pod for it.
    assert server.state(run) == "SCHEDULED", log.read_text()

    with running_pod(server, run, log) as pod:
        assert pod.wait(PATIENCE_SECONDS) == 0, log.read_text()
    assert server.state(run) == "COMPLETED", log.read_text()
    assert "train-mal: continuing an interrupted attempt" in server.logs(run)
