"""A flow run ends with the worker that started it, and another worker continues it.

Prefect's process worker leaves its flow runs behind when it is killed: they go on with nobody
to cancel them, and nobody notices when they die. Here a run that has lost its worker ends as
one that is cancelled, which saves a checkpoint, and goes back into the queue.
"""

import logging
import os
import signal
import threading
import time
from typing import Any

from prefect import Flow, State, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.runtime import deployment
from prefect.states import AwaitingRetry

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 1.0
MAX_ATTEMPTS = 3
"""A run that takes its worker with it each time must not take all workers."""

_watching = threading.Event()
_worker_lost = threading.Event()


def end_with_worker() -> None:
    """Watch the worker of this flow run, if a worker started it; returns at once."""
    if deployment.id is None or _watching.is_set():
        return
    _watching.set()
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(worker: int) -> None:
    # The kernel could tell by itself, but it would watch the worker's thread, not the worker.
    while os.getppid() == worker:
        time.sleep(SECONDS_BETWEEN_LOOKS)
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
    if not _worker_lost.is_set() or flow_run.deployment_id is None:
        return
    if flow_run.run_count >= MAX_ATTEMPTS:
        logger.error("the worker was lost in %d attempts; not queued again", flow_run.run_count)
        return
    message = "The worker ended; waiting for another, which continues from the checkpoint."
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(flow_run.id, AwaitingRetry(message=message), force=True)
