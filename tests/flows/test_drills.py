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
from tests.flows.held_training import (
    any_asked_to_end,
    family,
    hold_training,
    signal_all,
    training_process,
)
from tests.flows.prefect_server_process import FINAL, Server, most_at_once, running, taking_turns

# Half a core must be enough: what is waited for may take minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
PATIENCE_S = 900.0
BETWEEN_SIGNS_S = 30.0
"""Time between two signs of life of a run (prefect.yaml)."""
WAITING = "another process is at work on it; waiting"
CONTINUING = "continuing an interrupted attempt"

ATTEMPTS = range(int(os.environ.get("MAL_DRILLS", "1")))
Finder = Callable[[str], list[str]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(Server(tmp_path_factory.mktemp("prefect"))) as found:
        found.command("automation", "create", "--from-file", "automations.yaml")
        yield found


NUM_STEPS = 60 + 12 * (5 + len(ATTEMPTS))
"""Each drill stops a training after some ten steps; the last one still has seconds to go."""


@pytest.fixture(scope="module")
def training(tiny: list[str]) -> list[str]:
    """A training by one process; `Drill.start` holds it where it can be disturbed."""
    return [*tiny, f"mal.max_steps={NUM_STEPS}", "mal.checkpoint_every=5"]


@pytest.fixture(scope="module")
def undisturbed(mal, training: list[str]) -> str:
    """What the training comes to when nothing happens."""
    mal.run("train", *training)
    return sha256_file(mal.workdir / "mal" / "checkpoint.pth")


class Drill:
    """One training on the server, with a store of its own.

    All drills of a training disturb the same one: each goes on where the one before has left it,
    so that nothing is trained twice, and what they come to together is compared at the end.
    """

    def __init__(self, server: Server, root: Path, overrides: list[str], find: Finder) -> None:
        self.server, self.root, self.find = server, root, find
        self.held: str | None = None
        self.ranks: list[int] = []
        self.overrides = [*overrides, f"workdir={root / 'work'}", f"store={root / 'store'}"]

    def start(self) -> str:
        """Run the deployment until it has trained for a while; the training waits then.

        A training that waits takes no processor, and the drill cannot come too late.
        The run that waits already, if the drill before has left one, will do.
        """
        if self.held is None:
            before = self.saved()
            self.hold(self.server.run("train-mal", self.overrides), before)
        run, self.held = self.held, None
        assert run is not None, "it ended before it trained"
        return run

    def hold(self, run: str, before: int | None, continuations: int = 0) -> None:
        """Wait until a run has trained further than `before`, and let its training wait there.

        Args:
            run: A flow run.
            before: When its training was saved last; what was saved must be continued.
            continuations: How often the run has done so already.
        """
        looks = itertools.count()
        # A look at the folder costs nothing, a question to the server does.
        self.server.wait(
            "checkpoint",
            lambda: (
                self.trains_since(before)
                or (next(looks) % 30 == 29 and self.server.state(run) in FINAL)
            ),
            PATIENCE_S,
            every=0.1,
        )
        self.ranks = hold_training(self.root)
        self.held = run if self.ranks else None
        if self.ranks and before is not None:
            self.server.wait("continued attempt", lambda: self.continuations(run) > continuations)

    def continuations(self, run: str) -> int:
        """How often a run says that it continues a training."""
        return self.server.logs(run).count(CONTINUING)

    def trains_since(self, before: int | None) -> bool:
        """Whether a training has saved itself again."""
        return self.saved() not in (None, before) and training_process(self.root) is not None

    def saved(self) -> int | None:
        """When the training was saved last; None: never."""
        return max((path.stat().st_mtime_ns for path in self.checkpoints()), default=None)

    def go_on(self) -> None:
        """Let it train."""
        signal_all(self.ranks, signal.SIGCONT)

    def go_on_when_asked_to_end(self) -> None:
        """Let it train when what asks it to end has reached it, however long that takes."""
        self.server.wait("end of the ranks", lambda: any_asked_to_end(self.ranks))
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

    def expect_hand_over(self, run: str) -> None:
        """A run that has lost its worker is queued, and the next worker's training waits."""
        self.server.wait(
            "hand-over", lambda: self.server.state(run) == "SCHEDULED", seconds=PATIENCE_S
        )
        self.expect_checkpoint_and_silence()
        self.server.wait("end of all inside", lambda: self.states_inside(run) == {"CRASHED"})
        before, continuations = self.saved(), self.continuations(run)
        self.server.start_worker()
        self.hold(run, before, continuations)
        assert self.held == run

    def cancel(self, run: str) -> None:
        """Cancel a run whose training waits."""
        self.server.cancel(run)
        self.go_on_when_asked_to_end()
        assert self.server.finish(run, seconds=PATIENCE_S) == "CANCELLED"


@pytest.fixture(scope="module")
def drill(
    server: Server, tmp_path_factory: pytest.TempPathFactory, training, processes_with: Finder
) -> Iterator[Drill]:
    found = Drill(server, tmp_path_factory.mktemp("drill"), training, processes_with)
    yield found
    found.go_on()


@pytest.fixture(scope="module")
def drill_of_ranks(
    server: Server, tmp_path_factory: pytest.TempPathFactory, training, processes_with: Finder
) -> Iterator[Drill]:
    """By torchrun: it costs as much as the training, and only some drills need it."""
    overrides = [*training, "mal.num_processes=2"]
    found = Drill(server, tmp_path_factory.mktemp("ranks"), overrides, processes_with)
    yield found
    found.go_on()


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_killed_flow_of_ranks_is_reported_by_its_worker_and_gives_its_turn_back(
    attempt: int, drill_of_ranks: Drill
) -> None:
    drill, server = drill_of_ranks, drill_of_ranks.server
    with taking_turns(server):
        run, flow = drill.start(), flow_process(drill)
        assert len(drill.ranks) == 3, "torchrun and its ranks"
        os.kill(flow, signal.SIGKILL)
        drill.go_on_when_asked_to_end()
        server.wait("crash", lambda: server.state(run) == "CRASHED", seconds=PATIENCE_S)
        drill.expect_checkpoint_and_silence()
        server.wait("end of all inside", lambda: drill.states_inside(run) == {"CRASHED"})
        # Its worker said so, at once; the server's automation takes minutes.
        assert "No sign of life" not in server.ask(f"/flow_runs/{run}")["state"]["message"]
        drill.held = drill.start()  # which waits for its turn, if another has it
        assert drill.held != run


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_cancelled_ranks_save_and_are_gone(attempt: int, drill_of_ranks: Drill) -> None:
    """That what ranks have saved is continued to the same bytes is shown without a server."""
    drill = drill_of_ranks
    run = drill.start()
    before = drill.saved()
    drill.cancel(run)
    drill.expect_checkpoint_and_silence()
    assert drill.saved() != before


def test_run_out_of_time_saves(drill: Drill) -> None:
    server, limit = drill.server, 0.5
    run = None
    # A busy machine may need longer to begin; once it trains, it is held until time is up.
    while run is None:
        limit *= 2
        before = drill.saved()
        started = server.run("train-mal", [*drill.overrides, f"time_limit_minutes={limit}"])
        drill.hold(started, before)
        run = drill.held
    drill.held = None
    drill.go_on_when_asked_to_end()
    assert server.finish(run, seconds=PATIENCE_S) == "FAILED"
    message = server.ask(f"/flow_runs/{run}")["state"]["message"]
    assert f"stopped after {limit:g} minutes" in message
    drill.expect_checkpoint_and_silence()


def test_another_worker_takes_over_from_one_that_was_asked_to_end(drill: Drill) -> None:
    """By SIGTERM; a worker that gets one sends itself the SIGINT of Ctrl-C."""
    run = drill.start()
    worker = drill.server.processes[-1]
    worker.send_signal(signal.SIGTERM)
    drill.go_on_when_asked_to_end()
    worker.wait(PATIENCE_S)
    drill.expect_hand_over(run)


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_another_worker_takes_over_from_a_killed_one(attempt: int, drill: Drill) -> None:
    if attempt:
        drill.cancel(drill.start())  # a run that takes too many workers with it is given up
    run = drill.start()
    worker = drill.server.processes[-1]
    worker.kill()
    worker.wait()
    drill.go_on_when_asked_to_end()
    drill.expect_hand_over(run)


def test_run_of_a_lost_machine_is_crashed_by_the_server(drill: Drill) -> None:
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


def test_lost_server_leaves_no_process_and_what_was_trained(drill: Drill) -> None:
    server = drill.server
    run = drill.start()
    before = drill.saved()
    worker = server.processes[-1]
    for process in (server.server_process(), worker):
        process.kill()
        process.wait()
    drill.go_on_when_asked_to_end()
    drill.expect_checkpoint_and_silence()
    assert drill.saved() != before
    server.start_api()
    server.wait_for_api()
    # The run outlives its training: it asks for the server for a while, and where it is there
    # again in time, the run goes back into the queue; the next drill wants the training alone.
    server.wait("end of the run", lambda: not drill.find(run), seconds=PATIENCE_S)
    if server.state(run) == "SCHEDULED":
        server.ask(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLED"}, "force": True})
    server.start_worker()


def test_server_that_restarts_and_a_database_that_turns_read_only_do_not_end_a_run(
    drill: Drill,
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
    drill.held = run  # the next drill sees it complete
    if not refused:
        pytest.skip("the server restarted; files cannot be made immutable here (root, ext4)")


def test_two_runs_share_the_training_which_comes_to_what_it_would_have_undisturbed(
    drill: Drill, undisturbed: str
) -> None:
    """The last of the drills with this training."""
    server = drill.server
    runs = [drill.start(), server.run("train-mal", drill.overrides)]
    server.wait("second run", lambda: WAITING in server.logs(runs[1]), seconds=PATIENCE_S)
    drill.go_on()
    assert [server.finish(run, seconds=PATIENCE_S) for run in runs] == ["COMPLETED", "COMPLETED"]
    assert "train-mal: running" not in server.logs(runs[1])
    assert drill.result() == undisturbed


QUEUED = int(os.environ.get("MAL_QUEUED_RUNS", "3"))


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


def flow_process(drill: Drill) -> int:
    """The process of the flow run: the parent of its training."""
    stat = Path(f"/proc/{training_process(drill.root)}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])
