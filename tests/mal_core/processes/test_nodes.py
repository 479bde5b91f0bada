"""Several machines of one run, as processes on loopback; stand-ins take the ranks' place."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mal_core.errors import ConfigError, NodeError, WorkerError
from mal_core.processes import nodes
from mal_core.processes.children import Place, launcher
from mal_core.processes.nodes import Nodes, free_port, leading, run_ranks

PATIENCE = 60.0
# One node as a process. What torchrun would start is a module that does as the job file says.
NODE = """
import json, os, sys
from pathlib import Path
from mal_core.processes import nodes
from mal_core.errors import MalCoreError
nodes.MODULES, nodes.GRACE_S, nodes.SHARED_FOLDER_S = ("ranks",), 0.5, 1.0
nodes.launcher = lambda count, place: ["env", f"NODE={place.rank}", sys.executable]
kind, settings, job, log = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
own = nodes.Nodes(**settings)
try:
    if kind == "follow":
        nodes.follow(own, log)
    else:
        with nodes.leading(own):
            nodes.run_ranks(["-m", "ranks", job], num_processes=2, what="work", log_path=log)
except MalCoreError as error:
    sys.exit(str(error))
"""
RANKS = """
import os, sys, time
from pathlib import Path
job = Path(sys.argv[1])
number = os.environ["NODE"]
job.with_name(f"pid_{number}").write_text(f"{os.getpid()} end")
what = job.read_text().split()[int(number)] if job.exists() else "sleep"
if what == "fail":
    sys.exit(f"node {number} has no luck")
if what == "sleep":
    time.sleep(300)
"""


class Machines:
    """Starts nodes of one run; what each printed is read when it has ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.started: list[subprocess.Popen[str]] = []
        (folder / "ranks.py").write_text(RANKS)

    def settings(self, rank: int, **changes: object) -> dict[str, object]:
        common = {"count": 2, "host": "127.0.0.1", "port": self.port}
        return {**common, "rank": rank, "patience_s": PATIENCE, "settings": {"seed": 0}, **changes}

    def start(self, rank: int, **changes: object) -> subprocess.Popen[str]:
        kind = "lead" if rank == 0 else "follow"
        given = json.dumps(self.settings(rank, **changes))
        command = [sys.executable, "-c", NODE, kind, given, str(self.folder / "job")]
        process = subprocess.Popen(
            [*command, str(self.folder / f"log_{rank}")],
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )
        self.started.append(process)
        return process

    def pid(self, rank: int) -> int:
        path = self.folder / f"pid_{rank}"
        wait_until(lambda: path.exists() and path.read_text().endswith("end"))
        return int(path.read_text().split()[0])


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    message = process.communicate(timeout=PATIENCE)[1]
    return process.returncode, message


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    found = Machines(tmp_path)
    yield found
    for process in found.started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_without_other_machines_ranks_are_children(tmp_path: Path) -> None:
    run_ranks(["-c", "print('here')"], num_processes=1, what="w", log_path=tmp_path / "log")
    assert (tmp_path / "log").read_text() == "here\n"


def test_torchrun_is_told_the_place_of_the_machine() -> None:
    command = launcher(3, Place(num_nodes=2, rank=1, host="alpha", port=29500))
    wanted = ["--nproc-per-node=3", "--nnodes=2", "--node-rank=1", "--master-addr=alpha"]
    assert {*wanted, "--master-port=29500"} <= set(command)


def test_every_node_runs_its_ranks_and_ends_with_node_0(machines: Machines) -> None:
    (machines.folder / "job").write_text("work work")
    other, first = machines.start(1), machines.start(0)
    assert ended(first) == (0, "")
    assert ended(other) == (0, "")
    assert machines.pid(0) != machines.pid(1)


def test_death_of_another_node_ends_the_training(machines: Machines) -> None:
    (machines.folder / "job").write_text("sleep sleep")
    other, first = machines.start(1), machines.start(0)
    ranks = [machines.pid(0), machines.pid(1)]
    other.kill()
    status, message = ended(first)
    assert status == 1
    assert "node 1 has ended or is out of reach. Repeat the same commands" in message
    wait_until(lambda: all(map(has_ended, ranks)))


def test_death_of_node_0_ends_the_others(machines: Machines) -> None:
    (machines.folder / "job").write_text("sleep sleep")
    other, first = machines.start(1), machines.start(0)
    ranks = [machines.pid(0), machines.pid(1)]
    first.kill()
    status, message = ended(other)
    assert status == 1
    assert "node 0 has ended or is out of reach. Repeat the same commands" in message
    wait_until(lambda: all(map(has_ended, ranks)))


def test_what_fails_on_another_node_is_told_by_node_0(machines: Machines) -> None:
    (machines.folder / "job").write_text("sleep fail")
    other, first = machines.start(1), machines.start(0)
    status, message = ended(first)
    assert status == 1
    assert "work failed with exit status -15" in message
    assert "node 1: work failed with exit status 1" in message
    assert "node 1 has no luck" in message
    assert "node 0 ended: work failed" in ended(other)[1]


def test_a_store_that_is_not_shared_is_named(machines: Machines) -> None:
    other, first = machines.start(1), machines.start(0)  # no job file for node 1 to see
    assert "the store must be a folder that all nodes share" in ended(first)[1]
    assert ended(other)[0] == 1


def test_other_settings_are_refused_on_both_nodes(machines: Machines) -> None:
    other, first = machines.start(1, settings={"seed": 1}), machines.start(0)
    wanted = "node 0 and node 1 differ in seed: 0 and 1."
    assert wanted in ended(first)[1]
    assert wanted in ended(other)[1]


def test_node_0_waits_for_the_others_so_long_and_names_them(machines: Machines) -> None:
    alone = Nodes(**machines.settings(0, patience_s=0.3, count=3))
    wanted = "these nodes are not here: 1, 2. Start the same command with node_rank=1"
    with pytest.raises(NodeError, match=wanted), leading(alone):
        pytest.fail("it must not begin")


def test_another_node_waits_for_node_0_so_long(machines: Machines) -> None:
    alone = Nodes(**machines.settings(1, patience_s=0.3))
    with pytest.raises(NodeError, match="node 0 did not answer at rendezvous="):
        nodes.follow(alone, machines.folder / "log")


def test_a_taken_port_and_a_rank_given_twice_are_named(machines: Machines) -> None:
    triple = Nodes(**machines.settings(0, count=3))
    others = [machines.start(1, count=3), machines.start(1, count=3)]
    with pytest.raises(ConfigError, match="two nodes were started with node_rank=1"):
        nodes._gather(triple)
    assert [ended(other)[0] for other in others] == [1, 1]
    taken = socket.create_server(("127.0.0.1", machines.port))
    with taken, pytest.raises(NodeError, match="node 0 cannot listen there"), leading(triple):
        pytest.fail("it must not begin")


def test_a_stranger_on_the_port_is_ignored(machines: Machines) -> None:
    (machines.folder / "job").write_text("work work")
    first = machines.start(0)

    def knock() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", machines.port)) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        except OSError:
            return False
        return True

    wait_until(knock)
    other = machines.start(1)
    assert ended(first) == (0, "")
    assert ended(other) == (0, "")


def test_a_node_runs_nothing_but_trainings(machines: Machines) -> None:
    line = threading.local()
    order = {"command": ["-m", "http.server", "x"], "processes": 1, "port": 1, "what": "w"}
    one = Nodes(**machines.settings(1))
    problem = nodes._take_part(one, line, order, machines.folder / "log")
    assert problem == "node 0 asks for http.server, which is no training"


def test_a_failing_child_of_one_machine_is_a_worker_error(tmp_path: Path) -> None:
    with pytest.raises(WorkerError):
        run_ranks(["-c", "raise SystemExit(1)"], num_processes=1, what="w", log_path=tmp_path / "l")
