"""Labeling shards as Prefect tasks: in threads, on workers of Dask, on workers of Ray.

A shard is the path of its job file; its labels go to the journal on the shared disk.
"""

import contextlib
import contextvars
import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from flows.lifetime.logs import set_prefect_defaults

set_prefect_defaults()

from prefect import State, Task, flow, task  # noqa: E402 - its settings are read on import
from prefect.cache_policies import NO_CACHE  # noqa: E402
from prefect.client.schemas import TaskRun  # noqa: E402
from prefect.futures import PrefectConcurrentFuture, PrefectFuture  # noqa: E402
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner  # noqa: E402

from flows.settings.run_config import RunConfig  # noqa: E402
from flows.workers.local_ray import environment, local_ray  # noqa: E402
from mal_core.errors import MalCoreError, WorkerError  # noqa: E402
from mal_core.jobs.shards import label_shard_in_child  # noqa: E402
from mal_core.processes.children import end_children  # noqa: E402

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
SECONDS_BETWEEN_LOOKS = 1.0
RETRIES = 2
CONTINUES = "What is labeled stays; the same command labels the rest."


def worth_another_try(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether a child died of something else than wrong input or being told to end."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, WorkerError) and error.return_code != -signal.SIGTERM


@task(
    name="label shard",
    task_run_name="label shard {number} of {count}",
    cache_policy=NO_CACHE,
    retries=RETRIES,
    retry_condition_fn=worth_another_try,
)
def label_shard(job: str, number: int, count: int) -> None:
    """Label one shard in a child of whatever process runs this; the journal makes retries cheap."""
    label_shard_in_child(Path(job))


@flow(name="label shards", flow_run_name="label shards")
def label_shards(jobs: list[str]) -> None:
    """Label all shards; one that fails leaves the others alone, an interruption ends all.

    Args:
        jobs: Paths of their job files.
    """
    futures = [
        label_shard.submit(job, number, len(jobs)) for number, job in enumerate(jobs, start=1)
    ]
    try:
        _wait(futures)
    except BaseException:
        _end(futures)
        raise
    for future in futures:
        future.result()


def _wait(futures: Sequence[PrefectFuture[None]]) -> None:
    """Wait for all futures, so that a signal interrupts it.

    Ray swallows what a signal handler raises while Ray waits. Handlers run in the main
    thread only, so another thread waits in Ray, and this one in Python.
    """
    stop = threading.Event()

    def wait_for_all() -> None:
        for future in futures:
            while not _is_settled(future) and not stop.is_set():
                pass

    with ThreadPoolExecutor(max_workers=1) as pool:
        try:
            pool.submit(contextvars.copy_context().run, wait_for_all).result()
        finally:
            stop.set()


def _end(futures: Sequence[PrefectFuture[None]]) -> None:
    """End the children of this process; those of a cluster end with it, or with their owner."""
    threads = [
        future.wrapped_future for future in futures if isinstance(future, PrefectConcurrentFuture)
    ]
    for waiting in threads:
        waiting.cancel()
    end_children()
    while wait(threads, SECONDS_BETWEEN_LOOKS).not_done:
        end_children()  # one that was just starting


def _is_settled(future: PrefectFuture[None]) -> bool:
    try:
        future.result(timeout=SECONDS_BETWEEN_LOOKS, raise_on_failure=False)
    except TimeoutError:
        return False
    return True


def run_shards(config: RunConfig, jobs: Sequence[Path]) -> None:
    """Label shards in a flow run of their own, with the runner that the settings name."""
    with task_runner(config) as runner:
        label_shards.with_options(task_runner=runner)([str(job) for job in jobs])


@contextlib.contextmanager
def task_runner(config: RunConfig) -> Iterator[TaskRunner[Any]]:
    """The task runner of the settings; a local cluster ends with the context."""
    workers = config.labelers_side_by_side
    if config.label_runner == "dask":
        from prefect_dask import DaskTaskRunner

        with _dask(config.dask_address, workers) as address:
            yield DaskTaskRunner(address=address)
    elif config.label_runner == "ray":
        with _ray(config.ray_address, workers):
            from prefect_ray import RayTaskRunner

            yield RayTaskRunner()  # finds the connection that is open
    else:
        yield ThreadPoolTaskRunner(max_workers=workers)


@contextlib.contextmanager
def _dask(address: str | None, workers: int) -> Iterator[str]:
    if address is not None:
        yield address
        return
    logger.info("starting %d Dask workers on this machine", workers)
    from distributed import LocalCluster
    from distributed.scheduler import KilledWorker

    # A shard's memory is its child's, which Dask does not see: its own limit would be no use.
    with LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        host=LOOPBACK,
        dashboard_address=None,
        memory_limit=None,
    ) as cluster:
        try:
            yield cluster.scheduler_address
        except KilledWorker as error:
            message = f"Dask's workers died again and again: {error}. {CONTINUES}"
            raise MalCoreError(message) from error


@contextlib.contextmanager
def _ray(address: str | None, workers: int) -> Iterator[None]:
    """Connect this process to a running cluster, or to one of our own."""
    if address is None:
        logger.info("starting a Ray cluster of %d workers on this machine", workers)
        os.environ.update(environment())
    import ray

    with local_ray(workers) if address is None else contextlib.nullcontext(address) as place:
        # Ray takes SIGTERM for itself; a cancelled run must hear of it.
        handler = signal.getsignal(signal.SIGTERM)
        ray.init(place, namespace="mal", log_to_driver=False, logging_level="ERROR")
        signal.signal(signal.SIGTERM, handler)
        try:
            yield
        except ray.exceptions.RayError as error:
            message = f"Ray could not finish the shards: {error}. {CONTINUES}"
            raise MalCoreError(message) from error
        finally:
            ray.shutdown()
