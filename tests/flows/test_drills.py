"""What happens to runs when processes, the server, the disk or the clock fail.

MAL_DRILLS=10 repeats each cancel and kill that often, MAL_QUEUED_RUNS=50 queues more runs.
"""

import contextlib
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from mal_core.processes.files import sha256_file
from tests.flows.held_training import family, hold_training, signal_all, training_process
from tests.flows.prefect_server_process import Server, running

# Half a core must be enough: what is waited for may take minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
PATIENCE_S = 900.0
BETWEEN_SIGNS_S = 30.0
"""Time between two signs of life of a run (prefect.yaml)."""

ATTEMPTS = range(int(os.environ.get("MAL_DRILLS", "1")))
Finder = Callable[[str], list[str]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(Server(tmp_path_factory.mktemp("prefect"))) as found:
        found.command("automation", "create", "--from-file", "automations.yaml")
        yield found


@pytest.fixture(scope="module")
def training(tiny: list[str]) -> list[str]:
    """A training by one process; `Drill.start` holds it where it can be disturbed."""
    return [*tiny, "mal.max_steps=90", "mal.checkpoint_every=10"]


@pytest.fixture(scope="module")
def undisturbed(mal, training: list[str]) -> str:
    """What the training comes to when nothing happens."""
    mal.run("train", *training)
    return sha256_file(mal.workdir / "mal" / "checkpoint.pth")


TWO_RANKS = "mal.num_processes=2"
"""Most drills need no torchrun between the flow and its training; it costs as much as they do."""


@pytest.fixture(scope="module")
def undisturbed_ranks(mal, training: list[str]) -> str:
    """What two torchrun ranks come to when nothing happens."""
    mal.run("train", *training, TWO_RANKS)
    return sha256_file(mal.workdir / "mal" / "checkpoint.pth")


class Drill:
    """One training on the server, with a store of its own."""

    def __init__(self, server: Server, root: Path, overrides: list[str], find: Finder) -> None:
        self.server, self.root, self.find = server, root, find
        self.ranks: list[int] = []
        self.overrides = [*overrides, f"workdir={root / 'work'}", f"store={root / 'store'}"]

    def start(self, *more: str) -> str:
        """Run the deployment until it has trained for a while; the training waits then.

        A training that waits takes no processor, and the drill cannot come too late.
        """
        run = self.server.run("train-mal", [*self.overrides, *more])
        looks = itertools.count()
        # A look at the folder costs nothing, a question to the server does.
        self.server.wait(
            "checkpoint",
            lambda: (
                self.trains() or (next(looks) % 30 == 29 and self.server.state(run) == "FAILED")
            ),
            PATIENCE_S,
            every=0.1,
        )
        self.ranks = hold_training(self.root)
        return run

    def trains(self) -> bool:
        """Whether a training has a checkpoint."""
        return bool(self.checkpoints()) and training_process(self.root) is not None

    def go_on(self) -> None:
        """Let it train."""
        signal_all(self.ranks, signal.SIGCONT)

    def go_on_when_asked_to_end(self) -> None:
        """Let it train when what asks it to end has reached it, however long that takes."""
        self.server.wait("end of the ranks", lambda: any(map(is_asked_to_end, self.ranks)))
        self.go_on()

    def processes(self) -> list[str]:
        return self.find(str(self.root / "store"))

    def checkpoints(self) -> list[Path]:
        return list((self.root / "store").glob("train-mal/*.partial/state.pth"))

    def expect_checkpoint_and_silence(self) -> None:
        self.server.wait("end of all processes", lambda: not self.processes(), seconds=PATIENCE_S)
        assert self.checkpoints()

    def states_inside(self, run: str) -> set[str]:
        """States of the runs and tasks inside a run."""
        inner = {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}}
        runs = self.server.ask("/flow_runs/filter", inner)
        return {str(one["state_type"]) for one in [*runs, *self.server.task_runs(run)]}

    def result(self) -> str:
        return sha256_file(self.root / "work" / "mal" / "checkpoint.pth")

    def continued(self, *more: str) -> str:
        """Run the deployment again, to its end."""
        run = self.server.run("train-mal", [*self.overrides, *more])
        assert self.server.finish(run, seconds=PATIENCE_S) == "COMPLETED", self.server.logs(run)
        assert "continuing an interrupted attempt" in self.server.logs(run)
        return self.result()


@pytest.fixture
def drill(server: Server, tmp_path: Path, training, processes_with: Finder) -> Drill:
    return Drill(server, tmp_path, training, processes_with)


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_cancelled_ranks_save_and_continue(
    attempt: int, drill: Drill, undisturbed_ranks: str
) -> None:
    run = drill.start(TWO_RANKS)
    assert len(drill.ranks) == 3, "torchrun and its ranks"
    drill.server.cancel(run)
    drill.go_on_when_asked_to_end()
    assert drill.server.finish(run, seconds=PATIENCE_S) == "CANCELLED"
    drill.expect_checkpoint_and_silence()
    assert drill.continued(TWO_RANKS) == undisturbed_ranks


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_killed_flow_of_ranks_is_reported_by_its_worker(
    attempt: int, drill: Drill, undisturbed_ranks: str
) -> None:
    run, flow = drill.start(TWO_RANKS), flow_process(drill)
    drill.go_on()
    os.kill(flow, signal.SIGKILL)
    drill.server.wait("crash", lambda: drill.server.state(run) == "CRASHED", seconds=PATIENCE_S)
    drill.expect_checkpoint_and_silence()
    drill.server.wait("end of all inside", lambda: drill.states_inside(run) == {"CRASHED"})
    # Its worker said so, at once; the server's automation takes minutes.
    assert "No sign of life" not in drill.server.ask(f"/flow_runs/{run}")["state"]["message"]
    assert drill.continued(TWO_RANKS) == undisturbed_ranks


def test_run_out_of_time_saves_and_the_next_one_completes(drill: Drill, undisturbed: str) -> None:
    server, limit = drill.server, 0.5
    # A busy machine may need longer to begin; once it trains, it is held until time is up.
    while not drill.ranks:
        limit *= 2
        run = drill.start(f"time_limit_minutes={limit}")
    drill.go_on_when_asked_to_end()
    assert server.finish(run, seconds=PATIENCE_S) == "FAILED"
    message = server.ask(f"/flow_runs/{run}")["state"]["message"]
    assert f"stopped after {limit:g} minutes" in message
    drill.expect_checkpoint_and_silence()
    assert drill.continued(f"time_limit_minutes={100 * limit}") == undisturbed


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_another_worker_takes_over_from_a_killed_one(
    attempt: int, drill: Drill, undisturbed: str
) -> None:
    server = drill.server
    run = drill.start()
    worker = server.processes[-1]
    drill.go_on()
    worker.kill()
    worker.wait()
    server.wait("hand-over", lambda: server.state(run) == "SCHEDULED", seconds=PATIENCE_S)
    drill.expect_checkpoint_and_silence()
    server.start_worker()
    assert server.finish(run, seconds=PATIENCE_S) == "COMPLETED", server.logs(run)
    assert "continuing an interrupted attempt" in server.logs(run)
    assert drill.result() == undisturbed


def test_another_worker_takes_over_from_one_that_was_asked_to_end(
    drill: Drill, undisturbed: str
) -> None:
    """By SIGTERM; a worker that gets one sends itself the SIGINT of Ctrl-C."""
    server = drill.server
    run = drill.start()
    worker = server.processes[-1]
    worker.send_signal(signal.SIGTERM)
    drill.go_on_when_asked_to_end()
    worker.wait(PATIENCE_S)
    server.wait("hand-over", lambda: server.state(run) == "SCHEDULED", seconds=PATIENCE_S)
    drill.expect_checkpoint_and_silence()
    assert drill.states_inside(run) == {"CRASHED"}
    server.start_worker()
    assert server.finish(run, seconds=PATIENCE_S) == "COMPLETED", server.logs(run)
    assert drill.result() == undisturbed


def test_run_of_a_lost_machine_is_crashed_by_the_server(drill: Drill, undisturbed: str) -> None:
    server = drill.server
    run = drill.start()
    worker = server.processes[-1]
    for process in family(worker.pid):
        os.kill(process, signal.SIGKILL)
    worker.wait()
    server.wait("crash", lambda: server.state(run) == "CRASHED", seconds=PATIENCE_S)
    assert "No sign of life" in server.ask(f"/flow_runs/{run}")["state"]["message"]
    drill.expect_checkpoint_and_silence()
    server.start_worker()
    assert drill.continued() == undisturbed


def test_lost_server_leaves_no_process_and_what_was_trained(drill: Drill, undisturbed: str) -> None:
    server = drill.server
    drill.start()
    worker = server.processes[-1]
    drill.go_on()
    for process in (server.server_process(), worker):
        process.kill()
        process.wait()
    server.wait("end of all processes", lambda: not drill.processes(), seconds=PATIENCE_S)
    assert list((drill.root / "store").glob("train-mal/*/*.pth")), "neither finished nor saved"
    server.start_api()
    server.wait_for_api()
    server.start_worker()
    run = server.run("train-mal", drill.overrides)
    assert server.finish(run, seconds=PATIENCE_S) == "COMPLETED", server.logs(run)
    assert "train-mal: running" not in server.logs(run)
    assert drill.result() == undisturbed


def test_server_that_restarts_and_a_database_that_turns_read_only_do_not_end_a_run(
    drill: Drill, undisturbed: str
) -> None:
    server = drill.server
    run = drill.start()
    with read_only([server.root / "prefect.db", server.root / "prefect.db-wal"]) as refused:
        if refused:
            assert server.refuses_to_write()
            children = drill.processes()
            time.sleep(10 + BETWEEN_SIGNS_S)
            assert drill.processes() == children
    # Connections that were opened meanwhile stay read-only for good, SQLite's way: whoever runs
    # the server restarts it, and so do we, for this run and for the drills after it.
    server.restart_api()
    # At least one sign of life was lost; the automation sees twice the usual time between two.
    time.sleep(1.5 * BETWEEN_SIGNS_S)
    assert server.state(run) == "RUNNING"
    assert not server.refuses_to_write()
    drill.go_on()
    assert server.finish(run, seconds=PATIENCE_S) == "COMPLETED", server.logs(run)
    assert drill.result() == undisturbed
    if not refused:
        pytest.skip("the server restarted; files cannot be made immutable here (root, ext4)")


def test_two_runs_of_one_training_share_it(drill: Drill, undisturbed: str) -> None:
    server = drill.server
    runs = [server.run("train-mal", drill.overrides) for _ in range(2)]
    assert [server.finish(run, seconds=PATIENCE_S) for run in runs] == ["COMPLETED", "COMPLETED"]
    logs = [server.logs(run) for run in runs]
    assert sum("train-mal: running" in log for log in logs) == 1
    assert sum("another process is at work on it; waiting" in log for log in logs) >= 1
    assert drill.result() == undisturbed


QUEUED = int(os.environ.get("MAL_QUEUED_RUNS", "5"))


def test_many_queued_runs_keep_to_the_limit(
    server: Server, undisturbed: str, mal, training
) -> None:
    places = [f"workdir={mal.workdir}", f"store={mal.root / 'store'}"]
    server.ask("/work_pools/mal", {"concurrency_limit": 2}, "PATCH")
    try:
        queued = {server.run("train-mal", [*training, *places]) for _ in range(QUEUED)}
        server.wait("end of all runs", lambda: server.all_ended(queued), seconds=2 * PATIENCE_S)
    finally:
        server.ask("/work_pools/mal", {"concurrency_limit": None}, "PATCH")
    runs = [server.wait("state", lambda run=run: server.ask(f"/flow_runs/{run}")) for run in queued]
    assert {run["state_type"] for run in runs} == {"COMPLETED"}
    # A run that finds all stored is over at once: two may miss each other, three may not meet.
    assert most_at_once(runs) <= 2


def test_trainings_take_turns_and_a_killed_one_gives_its_turn_back(
    drill: Drill, tiny: list[str], undisturbed: str
) -> None:
    server = drill.server
    server.ask("/concurrency_limits/", {"tag": "mal-gpu", "concurrency_limit": 1})
    try:
        first, flow = drill.start(), flow_process(drill)
        drill.go_on()
        os.kill(flow, signal.SIGKILL)
        server.wait("crash", lambda: server.state(first) == "CRASHED", seconds=PATIENCE_S)
        places = drill.overrides[len(tiny) :]
        short = [*tiny, *[text for text in places if text.startswith(("workdir", "store"))]]
        annotations = {text.partition("=")[2] for text in tiny if "train.annotations" in text}
        given = f"pseudo_labels={annotations.pop()}"  # two trainings, and no labeler before them
        run = server.run("train-segmenter", [*short, given, "segmenter_jobs=2"])
        assert server.finish(run, seconds=PATIENCE_S) == "COMPLETED", server.logs(run)
    finally:
        server.ask("/concurrency_limits/tag/mal-gpu", method="DELETE")
    tasks = server.task_runs(run)
    trainings = [task for task in tasks if task["name"].startswith("train solov2")]
    assert len(trainings) == 2
    assert most_at_once(trainings) == 1


@contextlib.contextmanager
def read_only(files: Iterable[Path]) -> Iterator[bool]:
    """Files that nobody can write, not even root, who has them open; yields whether it works."""
    names = [str(file) for file in files]
    if subprocess.run(["chattr", "+i", *names], capture_output=True, check=False).returncode:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["chattr", "-i", *names], check=True)


def most_at_once(runs: list[dict[str, str]]) -> int:
    """How many runs overlapped at most."""
    moments = [(run["start_time"], 1) for run in runs] + [(run["end_time"], -1) for run in runs]
    running = most = 0
    for _, step in sorted(moments):
        running += step
        most = max(most, running)
    return most


def flow_process(drill: Drill) -> int:
    """The process of the flow run: the parent of its training."""
    stat = Path(f"/proc/{training_process(drill.root)}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def is_asked_to_end(pid: int) -> bool:
    """Whether a stopped process has a SIGTERM waiting for it, or is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    waiting = [int(line.split()[1], 16) for line in status.splitlines() if "Pnd:" in line]
    return any(mask & 1 << (signal.SIGTERM - 1) for mask in waiting)
