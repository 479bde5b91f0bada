"""Tells the server what a killed flow run cannot tell any more: a small process beside it.

Prefect's worker reports the run whose process dies under it, but not the runs and tasks inside;
and a worker that is asked to end kills its runs and reports nothing: they would count as running.
"""

import logging
import os
import select
import sys
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:  # Prefect takes a second to import, and most runs end by themselves
    from prefect import State

logger = logging.getLogger(__name__)

ENDED = b"ended\n"
"""What a flow process says that ends by itself."""
WORKER_ENDS_S = 600.0
"""How long a worker that kills its runs may take to end itself; minutes where all is slow."""
SECONDS_BETWEEN_LOOKS = 5.0
"""A worker that lives on reports its dead run; then there is nothing to wait for."""
MAX_ATTEMPTS = 3
"""A run that takes its worker with it each time must not take all workers."""


def queue_again(run: UUID) -> None:
    """Give a run that has lost its worker back to the queue, unless it was there too often."""
    from prefect import get_client
    from prefect.states import AwaitingRetry, Crashed

    with get_client(sync_client=True) as client:
        attempts = client.read_flow_run(run).run_count
        if attempts >= MAX_ATTEMPTS:
            message = f"the worker was lost in {attempts} attempts; not queued again"
            logger.error("%s", message)
            client.set_flow_run_state(run, Crashed(message=message), force=True)
            return
        message = "The worker ended; waiting for another, which continues from the checkpoint."
        client.set_flow_run_state(run, AwaitingRetry(message=message), force=True)


def crash_inner(run: UUID) -> None:
    """Mark as crashed what still counts as running inside a dead run: its tasks, runs, theirs."""
    from prefect import get_client
    from prefect.client.schemas import filters
    from prefect.states import Crashed

    state: State[Any] = Crashed(message="The process of the flow run was killed.")
    with get_client(sync_client=True) as client:
        parent = filters.FlowRunFilterParentFlowRunId(any_=[run])
        inner = client.read_flow_runs(
            flow_run_filter=filters.FlowRunFilter(parent_flow_run_id=parent)
        )
        ids = [run, *(child.id for child in inner)]
        of_these = filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=ids))
        for task in client.read_task_runs(flow_run_filter=of_these):
            if task.state is not None and not task.state.is_final():
                client.set_task_run_state(task.id, state, force=True)
        for child in inner:
            if child.state is not None and not child.state.is_final():
                client.set_flow_run_state(child.id, state, force=True)


def handle_of(process: int) -> int | None:
    """A file that turns readable when a process of this machine ends; None where it is not seen."""
    try:
        return os.pidfd_open(process)
    except OSError:
        return None


def is_running(run: UUID) -> bool:
    """Whether the server takes a run for one that runs."""
    from prefect import get_client

    with get_client(sync_client=True) as client:
        state = client.read_flow_run(run).state
    return state is not None and (state.is_running() or state.is_pending())


def main() -> None:
    """Wait for the end of the process at the other end of standard input."""
    run = UUID(sys.argv[1])
    worker = handle_of(int(sys.argv[2]))
    if worker is None:
        return  # gone already, which the run notices by itself, or in another container
    if sys.stdin.buffer.readline() == ENDED:
        return
    crash_inner(run)
    if _ends_before_it_reports(worker, run):
        queue_again(run)


def _ends_before_it_reports(worker: int, run: UUID) -> bool:
    """Wait for the worker's end or its report; whether the run is left to nobody."""
    deadline = time.monotonic() + WORKER_ENDS_S
    while is_running(run) and time.monotonic() < deadline:
        ended, _, _ = select.select([worker], [], [], SECONDS_BETWEEN_LOOKS)
        if ended:
            return is_running(run)
    return False


if __name__ == "__main__":
    main()
