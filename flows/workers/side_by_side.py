"""Trainings of segmenters: one child process each, one after the other or side by side."""

import contextvars
import logging
import shutil
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar

from flows.lifetime.interruption import end_together
from mal_core.errors import ArmsError, SegmenterError
from mal_core.jobs.segmenter import (
    INPUT_IS_WRONG,
    JOB_FILE,
    ClaimedJob,
    SegmenterJob,
    claim_of,
    is_claimed_otherwise,
    train_segmenter,
)
from mal_core.processes.children import end_children

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


def train_arm(job: SegmenterJob, *, folder: Path, title: str) -> None:
    """Train one segmenter in a child process, or continue what lies in `folder`."""
    _drop_moved_attempt(folder, claim_of(job))
    train_segmenter(
        job,
        folder,
        # mmdet is talkative: the run log and log.txt keep everything, the terminal the progress.
        on_line=lambda line: logger.debug("%s | %s", title, line),
        title_prefix=f"{title}: ",
    )


def _drop_moved_attempt(folder: Path, claim: ClaimedJob) -> None:
    # The store's key ignores where files lie, mmdet's dumped config does not: an attempt
    # whose data has moved since starts again.
    if is_claimed_otherwise(folder / JOB_FILE, claim):
        logger.info("%s: the data has moved since this attempt began; starting again", folder)
        # The folder itself stays: the stage at work in it is watched.
        for inner in folder.iterdir():
            shutil.rmtree(inner) if inner.is_dir() else inner.unlink()


def side_by_side(calls: Sequence[Callable[[], Result]], limit: int) -> list[Result]:
    """Run calls that each wait for a child process, at most `limit` at a time.

    One at a time happens in the caller's own thread. Threads live as long as the
    children they start, because the kernel ties a child to the thread that started
    it. A training that breaks off (memory, a loss that is no number) leaves the others
    alone; wrong input, which all would meet, and an interruption end all children.

    Returns:
        The results, in the order of the calls.

    Raises:
        ArmsError: Trainings broke off; all others are finished.
    """
    if limit == 1 or len(calls) == 1:
        outcomes = [_outcome(call) for call in calls]
    else:
        outcomes = _in_threads(calls, limit)
    broken = [outcome for outcome in outcomes if isinstance(outcome, SegmenterError)]
    if broken:
        raise ArmsError(broken, len(outcomes))
    return [outcome for outcome in outcomes if not isinstance(outcome, SegmenterError)]


def _outcome(call: Callable[[], Result]) -> Result | SegmenterError:
    """The result, or why this one training broke off."""
    try:
        return call()
    except SegmenterError as error:
        if error.return_code in (INPUT_IS_WRONG, -signal.SIGTERM):
            raise
        logger.error("%s", error)  # noqa: TRY400 - the rest goes on; it is raised at the end
        return error


def _in_threads(calls: Sequence[Callable[[], Result]], limit: int) -> list[Result | SegmenterError]:
    ended = threading.Event()
    contexts = [contextvars.copy_context() for _ in calls]
    for context in contexts:
        context.run(end_together, ended)
    with ThreadPoolExecutor(max_workers=limit, thread_name_prefix="segmenter") as pool:
        futures = [
            pool.submit(context.run, _outcome, call)
            for context, call in zip(contexts, calls, strict=True)
        ]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            failed = [future for future in done if future.exception() is not None]
            if failed:
                _end(futures, ended)
                failed[0].result()
        except BaseException:
            _end(futures, ended)
            raise
        return [future.result() for future in futures]


def _end(futures: Sequence[Future[Any]], ended: threading.Event) -> None:
    ended.set()  # before the children: who waits for another machine has none
    for future in futures:
        future.cancel()
    end_children()
