"""Child processes that stream their output and never outlive their parent."""

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mal_core.errors import WorkerError
from mal_core.processes.progress import EVENTS_VARIABLE, ProgressRelay

logger = logging.getLogger(__name__)

GRACE_SECONDS = 10.0
SECONDS_BETWEEN_POLLS = 0.1
KEPT_LINES = 20
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_held_descriptors: set[int] = set()
_start_lock = threading.Lock()
_running: set["subprocess.Popen[str]"] = set()
_variables: ContextVar[Mapping[str, str]] = ContextVar("variables of children", default={})  # noqa: B039 - never changed


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """This machine among those that train together; `host`, `port`: where their ranks meet."""

    num_nodes: int
    rank: int
    host: str
    port: int


@contextlib.contextmanager
def children_hold(descriptor: int) -> Iterator[None]:
    """Let children that start meanwhile keep an open file, so that a lock on it outlives us.

    If this process is SIGKILLed, the lock ends with the last of those children.
    """
    _held_descriptors.add(descriptor)
    try:
        yield
    finally:
        with _start_lock:  # the descriptor may be closed next, never while a child is starting
            _held_descriptors.discard(descriptor)


@contextlib.contextmanager
def children_see(variables: Mapping[str, str]) -> Iterator[None]:
    """Children that this thread starts meanwhile get these environment variables too."""
    token = _variables.set({**_variables.get(), **variables})
    try:
        yield
    finally:
        _variables.reset(token)


def end_children() -> int:
    """Ask every running child of `run_child` to end; its caller then cleans up.

    Returns:
        How many were asked.
    """
    running = tuple(_running)
    for process in running:
        process.send_signal(signal.SIGTERM)
    return len(running)


def die_with_parent(parent: int) -> None:
    """For `preexec_fn`: end this child when process `parent`, which starts it, ends."""
    # The kernel signals the child when the parent *thread* ends, even by SIGKILL,
    # so callers must not start children from short-lived threads.
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the kernel knew of our wish
            os._exit(1)


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child: unbuffered, progress as events, one OpenMP thread.

    Two OpenMP threads beside any other busy process spin-wait on each other, which
    makes small iterations a hundred times slower; a user's own setting is kept.
    """
    environment = dict(os.environ)
    environment.setdefault("OMP_NUM_THREADS", "1")
    environment["PYTHONUNBUFFERED"] = "1"
    environment[EVENTS_VARIABLE] = "events"
    # Torch's own loader then runs nothing in a child, whoever asks it and however.
    environment.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
    environment["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    environment.update(_variables.get())
    environment.update(extra or {})
    return environment


def run_child(  # noqa: PLR0913 - all keyword-only but the command
    command: Sequence[str],
    *,
    what: str,
    log_path: Path,
    on_line: Callable[[str], None] | None = None,
    error_type: type[WorkerError] = WorkerError,
    environment: Mapping[str, str] | None = None,
    title_prefix: str = "",
) -> None:
    """Run a command to its end, streaming its output.

    The child leads its own session. Whatever ends this call early (cancel, an
    exception, SIGTERM turned into one) first asks the child with SIGTERM, then
    kills its whole process group; if this process is SIGKILLed the kernel sends
    the child SIGTERM.

    Args:
        command: Program and arguments.
        what: Name of the work, for messages.
        log_path: Receives every line the child prints, progress events excepted.
        on_line: Called with each line that is no progress event; default logs it.
        error_type: Raised when the child fails.
        environment: Additional variables.
        title_prefix: Put before the titles of the child's progress bars.

    Raises:
        WorkerError: The child exited with another status than 0.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    relay = ProgressRelay(title_prefix)
    last_lines: deque[str] = deque(maxlen=KEPT_LINES)
    with _start_lock:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=child_environment(environment),
            start_new_session=True,
            pass_fds=tuple(_held_descriptors),
            preexec_fn=partial(die_with_parent, os.getpid()),
        )
    _running.add(process)
    reaper = threading.Thread(target=_end_group_after, args=(process,), daemon=True)
    reaper.start()
    try:
        if process.stdout is None:
            raise WorkerError(what, return_code=-1, log_path=log_path, last_lines=())
        with log_path.open("a") as log:
            for raw in process.stdout:
                line = raw.rstrip("\n")
                if relay.handle(line):
                    continue
                log.write(f"{line}\n")
                log.flush()
                last_lines.append(line)
                (on_line or logger.info)(line)
        return_code = process.wait()
    finally:
        _running.discard(process)
        relay.close()
        _end(process)
        reaper.join()
    if return_code != 0:
        raise error_type(
            what, return_code=return_code, log_path=log_path, last_lines=tuple(last_lines)
        )


def _end_group_after(process: subprocess.Popen[str]) -> None:
    # What a crashed child started keeps the pipe open; reading it would never end.
    while process.poll() is None:
        time.sleep(SECONDS_BETWEEN_POLLS)
    _kill_group(process)


def _kill_group(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
    # Data workers and ranks of a child that ignored SIGTERM share its group.
    _kill_group(process)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def launcher(num_processes: int, place: Place | None = None) -> list[str]:
    """Python, or torchrun where several processes work together.

    Args:
        num_processes: Of this machine.
        place: Where several machines work together, which one this is.
    """
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={num_processes}"]
    if place is None:
        return [sys.executable] if num_processes == 1 else [*torchrun, "--standalone"]
    # torchrun's static rendezvous: rank 0, which writes the files, is on node 0 for certain. Its
    # other one (c10d) gives out ranks as nodes arrive, and would let others replace a lost one.
    nodes = [f"--nnodes={place.num_nodes}", f"--node-rank={place.rank}"]
    return [*torchrun, *nodes, f"--master-addr={place.host}", f"--master-port={place.port}"]
