"""A flow run ends with the worker that started it, and another worker continues it.

Prefect's process worker leaves its flow runs behind when it is killed: they go on with nobody
to cancel them, and nobody notices when they die. Here a run that has lost its worker ends as
one that is cancelled, which saves a checkpoint, and goes back into the queue. A worker that is
asked to end kills its runs; what is left to say then says `flows.lifetime.crash_reporter`.
"""

import atexit
import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from typing import Any

from prefect import Flow, State, runtime
from prefect.client.schemas.objects import FlowRun

from flows.lifetime import crash_reporter

logger = logging.getLogger(__name__)

_watching = threading.Event()
_worker_lost = threading.Event()


def end_with_worker() -> None:
    """Watch the worker of this flow run, if a worker started it; returns at once."""
    if runtime.deployment.id is None or _watching.is_set():
        return
    _watching.set()
    _start_crash_reporter(str(runtime.flow_run.id), os.getppid())
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _start_crash_reporter(run: str, worker: int) -> None:
    """Start the process that reports us if we are killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.lifetime.crash_reporter", run, str(worker)],
        stdin=subprocess.PIPE,
        # The worker waits until nobody holds its pipes any more.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    atexit.register(_end_by_ourselves, process)


def _end_by_ourselves(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(BrokenPipeError):
        process.communicate(crash_reporter.ENDED)


def _watch(worker: int) -> None:
    # A death signal could tell, too, but it comes with the end of the worker's thread.
    handle = crash_reporter.handle_of(worker)
    if handle is not None:
        select.select([handle], [], [])
    elif os.getppid() == worker:
        return  # in another container
    _worker_lost.set()
    # The worker read what this process prints; a line more would end it before it has saved.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    logger.warning("the worker (process %d) is gone; ending here, another may continue", worker)
    os.kill(os.getpid(), signal.SIGTERM)


def hand_over(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook of a crashed flow: queue a run again that only lost its worker."""
    del flow, state
    if _worker_lost.is_set() and flow_run.deployment_id is not None:
        crash_reporter.queue_again(flow_run.id)
