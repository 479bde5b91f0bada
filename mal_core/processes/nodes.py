"""Several machines that train together: node 0 says what, the others join in.

Node 0 listens on the rendezvous port and runs the pipeline. Every other node holds one
connection to it for the whole run, over which node 0 announces each training; the nodes
then start torchrun on the same job file of a folder they share. That connection also
tells each side, within seconds, that the other one has ended: torchrun and NCCL would
wait for minutes.
"""

import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mal_core.errors import ConfigError, NodeError, WorkerError
from mal_core.processes.children import Place, end_children, launcher, run_child
from mal_core.processes.node_line import LAST_WORDS_S, Line, Message

logger = logging.getLogger(__name__)

MODULES = ("mal_core.jobs.worker", "phase2_configs.runner.train")
"""All that a node runs for another one."""
SECONDS_BETWEEN_LOOKS = 0.2
HELLO_S = 15.0
GRACE_S = 10.0
"""What a training may take to fail by itself once one node's part of it has failed."""
FINISH_S = 60.0
SHARED_FOLDER_S = 90.0
"""A network file system may hide a new file this long from other machines."""
REPEAT = "Repeat the same commands on all nodes: they continue from the last checkpoint."


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """The machines of one run, as one of them sees it.

    Attributes:
        count: How many there are.
        rank: Which one this is; 0 runs the pipeline and writes all results.
        host, port: Where node 0 listens.
        patience_s: How long the nodes wait for each other at the start.
        settings: What must be the same on all nodes, by name.
    """

    count: int
    rank: int
    host: str
    port: int
    patience_s: float
    settings: Mapping[str, Any]


class Leader:
    """Node 0: knows the connections to all other nodes, and starts trainings with them."""

    def __init__(self, nodes: Nodes, lines: Sequence[Line]) -> None:
        self.nodes = nodes
        self.lines = tuple(lines)
        self.number = 0

    def run(self, command: Sequence[str], *, num_processes: int, what: str, **child: Any) -> None:
        """Run a module as `num_processes` ranks on all nodes; see `run_child`.

        Raises:
            NodeError: A node has ended or is out of reach.
            WorkerError: The training itself failed; also tells what other nodes say of it.
        """
        self._require_all()
        self.number += 1
        port = free_port()
        per_node = num_processes // self.nodes.count
        order = {"command": list(command), "processes": per_node, "port": port, "what": what}
        for line in self.lines:
            line.send(do="train", number=self.number, **order)
        place = Place(num_nodes=self.nodes.count, rank=0, host=self.nodes.host, port=port)
        ended = threading.Event()
        watch = threading.Thread(target=self._watch, args=(ended,), daemon=True)
        reports: list[str] = []
        watch.start()
        try:
            run_child([*launcher(per_node, place), *command], what=what, **child)
            reports = self._reports(FINISH_S)
        except WorkerError as error:
            for line in self.lines:
                line.send(do="stop")
            reports = self._reports(GRACE_S)
            gone = self._gone()
            if gone is not None:
                raise gone from error
            error.args = ("\n".join([str(error), *reports]),)
            raise
        finally:
            ended.set()
            watch.join()
        for report in reports:  # the result is whole: the first process writes last
            logger.warning("%s", report)

    def _watch(self, ended: threading.Event) -> None:
        """End our part of a training in which another node's part has ended."""
        deadline: float | None = None
        while not ended.wait(SECONDS_BETWEEN_LOOKS):
            if deadline is None and any(line.has_failed(self.number) for line in self.lines):
                deadline = time.monotonic() + GRACE_S
            # Once only: torchrun would drop its own clean-up at a second signal.
            if deadline is not None and time.monotonic() > deadline and end_children():
                return

    def _reports(self, seconds: float) -> list[str]:
        """What each other node says of the training that has just ended, where it failed."""
        deadline, found = time.monotonic() + seconds, []
        for line in self.lines:
            answer = line.receive(deadline - time.monotonic())
            while answer is not None and answer["number"] != self.number:  # of an earlier one
                answer = line.receive(deadline - time.monotonic())
            if answer is not None and answer["failed"]:
                found.append(f"node {line.rank}: {answer['failed']}")
        return found

    def _gone(self) -> NodeError | None:
        ranks = [line.rank for line in self.lines if line.gone.is_set()]
        if not ranks:
            return None
        who = ", ".join(f"node {rank}" for rank in ranks)
        return NodeError(f"{who} has ended or is out of reach. {REPEAT}")

    def _require_all(self) -> None:
        gone = self._gone()
        if gone is not None:
            raise gone

    def end(self, error: str | None) -> None:
        """Tell all other nodes that the run is over, and why if it failed."""
        deadline = time.monotonic() + LAST_WORDS_S
        for line in self.lines:
            line.send(do="end", error=error)
        for line in self.lines:
            line.close(deadline)


_leader: Leader | None = None


@contextlib.contextmanager
def leading(nodes: Nodes) -> Iterator[None]:
    """Wait for all other nodes; trainings inside run on all of them. Node 0 calls this.

    Raises:
        NodeError: Another node did not come in time, or the port is taken.
        ConfigError: Another node was started with other settings.
    """
    global _leader  # the trainings of a process share its nodes, as they do its signals
    leader = Leader(nodes, _gather(nodes))
    _leader = leader
    error: str | None = "it was interrupted"
    try:
        yield
        error = None
    except Exception as raised:
        error = str(raised)
        raise
    finally:
        _leader = None
        leader.end(error)


def run_ranks(command: Sequence[str], *, num_processes: int, what: str, **child: Any) -> None:
    """Run a module in a child process, or in several that train together; see `run_child`.

    Args:
        command: Arguments of Python.
        num_processes: How many train together, on all nodes.
        what: Name of the work, for messages.
        child: For `run_child`.

    Raises:
        WorkerError: It failed.
        NodeError: Another node has ended or is out of reach.
    """
    if _leader is None or num_processes == 1:
        run_child([*launcher(num_processes), *command], what=what, **child)
    else:
        _leader.run(command, num_processes=num_processes, what=what, **child)


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _gather(nodes: Nodes) -> list[Line]:
    deadline = time.monotonic() + nodes.patience_s
    try:
        # A loopback name stays on this machine; else a node may know us by any address.
        address = nodes.host if nodes.host in ("localhost", "127.0.0.1") else ""
        server = socket.create_server((address, nodes.port), backlog=nodes.count)
    except OSError as error:
        message = f"rendezvous={nodes.host}:{nodes.port}: node 0 cannot listen there: {error}."
        raise NodeError(message) from error
    found: dict[int, Line] = {}
    with server:
        patience = f"{nodes.patience_s / 60:g} minutes at most"
        where = f"at {nodes.host}:{nodes.port}, {patience}"
        logger.info(
            "node 0: waiting for %d more of %d nodes %s", nodes.count - 1, nodes.count, where
        )
        try:
            while len(found) < nodes.count - 1:
                line = _next_node(server, deadline, nodes, found)
                if line is not None:
                    found[line.rank] = line
        except BaseException as error:
            for line in found.values():
                line.send(do="end", error=str(error) or "it was interrupted")
                line.close()
            raise
    logger.info("node 0: all %d nodes are here", nodes.count)
    return [found[rank] for rank in sorted(found)]


def _next_node(
    server: socket.socket, deadline: float, nodes: Nodes, found: Mapping[int, Line]
) -> Line | None:
    """The next node that says hello; None for a connection that is none of ours."""
    server.settimeout(max(0.01, deadline - time.monotonic()))
    try:
        connection, _ = server.accept()
    except TimeoutError as error:
        absent = [str(rank) for rank in range(1, nodes.count) if rank not in found]
        message = (
            f"after {nodes.patience_s / 60:g} minutes these nodes are not here: "
            f"{', '.join(absent)}. Start the same command with node_rank={absent[0]} there, "
            "or wait longer with node_wait_minutes."
        )
        raise NodeError(message) from error
    line = Line(connection, -1)
    hello = line.receive(HELLO_S)
    if hello is None or hello.get("do") != "join":
        line.close()
        return None
    line.rank = hello["rank"]
    problem = _problem_with(hello, nodes, found)
    if problem is not None:
        line.send(do="end", error=problem)
        line.close()
        raise ConfigError(problem)
    line.send(do="welcome")
    return line


def _problem_with(hello: Message, nodes: Nodes, found: Mapping[int, Line]) -> str | None:
    rank, theirs = hello["rank"], hello["settings"]
    if rank in found:
        return f"two nodes were started with node_rank={rank}; each needs its own."
    # As they arrive: tuples are lists in JSON.
    ours = json.loads(json.dumps(dict(nodes.settings)))
    other = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
    if not other:
        return None
    seen = "; ".join(f"{key}: {ours.get(key)!r} and {theirs.get(key)!r}" for key in other)
    return f"node 0 and node {rank} differ in {seen}. All nodes need the same command and code."


def follow(nodes: Nodes, log_path: Path) -> None:
    """Join every training that node 0 starts, until it has finished. The other nodes call this.

    Args:
        nodes: The machines; `rank` is at least 1.
        log_path: Receives what our processes print.

    Raises:
        NodeError: Node 0 failed, has ended, or did not come in time.
    """
    line = _connect(nodes)
    me = f"node {nodes.rank}"
    logger.info("%s: joined; node 0 runs the pipeline", me)
    try:
        while True:
            message = line.inbox.get()
            if message is None:
                raise NodeError(f"node 0 has ended or is out of reach. {REPEAT}")
            if message["do"] == "end":
                if message["error"] is not None:
                    raise NodeError(f"node 0 ended: {message['error']}")
                logger.info("%s: node 0 has finished", me)
                return
            if message["do"] == "train":
                logger.info("%s: %s: running", me, message["what"])
                problem = _take_part(nodes, line, message, log_path)
                logger.info("%s: %s: %s", me, message["what"], problem or "done")
                line.send(do="report", number=message["number"], failed=problem)
    finally:
        line.close()


def _connect(nodes: Nodes) -> Line:
    deadline = time.monotonic() + nodes.patience_s
    where = f"{nodes.host}:{nodes.port}"
    logger.info("node %d: waiting for node 0 at %s", nodes.rank, where)
    _warn_of_unknown_host(nodes)
    while True:
        with contextlib.suppress(OSError):
            connection = socket.create_connection((nodes.host, nodes.port), timeout=HELLO_S)
            line = Line(connection, 0)
            line.send(do="join", rank=nodes.rank, settings=dict(nodes.settings))
            answer = line.receive(deadline - time.monotonic())
            if answer is not None and answer["do"] == "end":
                raise NodeError(f"node 0 ended: {answer['error']}")
            if answer is not None and answer["do"] == "welcome":  # TCP may even connect to itself
                return line
            line.close()
        if time.monotonic() > deadline:
            message = (
                f"node 0 did not answer at rendezvous={where} for {nodes.patience_s / 60:g} "
                "minutes. Start the same command there with node_rank=0, or wait longer with "
                "node_wait_minutes."
            )
            raise NodeError(message)
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _warn_of_unknown_host(nodes: Nodes) -> None:
    # Not an error: the name of a machine that is still starting may come later.
    try:
        socket.getaddrinfo(nodes.host, nodes.port)
    except OSError as error:
        logger.warning("rendezvous: %s is not known here yet (%s)", nodes.host, error)


def _take_part(nodes: Nodes, line: Line, message: Message, log_path: Path) -> str | None:
    """Run our ranks of a training; returns what went wrong."""
    flag, module, *arguments = message["command"]
    if flag != "-m" or module not in MODULES:
        return f"node 0 asks for {module}, which is no training"
    job_path = Path(arguments[-1])
    if not _appears(job_path, line):
        return (
            f"{job_path} is not there: the store must be a folder that all nodes share "
            "(store=DIR on a network file system)"
        )
    place = Place(
        num_nodes=nodes.count, rank=nodes.rank, host=nodes.host, port=int(message["port"])
    )
    ended = threading.Event()
    watch = threading.Thread(target=_end_when_told, args=(line, ended), daemon=True)
    watch.start()
    try:
        run_child(
            [*launcher(int(message["processes"]), place), "-m", module, *arguments],
            what=message["what"],
            log_path=log_path,
            on_line=lambda text: logger.debug("%s", text),
        )
    except WorkerError as error:
        return str(error)
    finally:
        ended.set()
        watch.join()
    return None


def _appears(path: Path, line: Line) -> bool:
    deadline = time.monotonic() + SHARED_FOLDER_S
    while not path.is_file():
        if time.monotonic() > deadline or line.gone.is_set():
            return False
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return True


def _end_when_told(line: Line, ended: threading.Event) -> None:
    """End our ranks when node 0 says so, has ended or is out of reach."""
    while not ended.wait(SECONDS_BETWEEN_LOOKS):
        told = line.gone.is_set() or not line.inbox.empty()
        if told and end_children():
            return
