"""Labeling in shards: a child process each, started here or on a worker that shares our disk.

A shard is a job file in a folder of its own, below `shards/` beside the labels:

    shards/owner                    locked by the process that wants the labels
    shards/2-of-5/shard_job.json    what to label; label.log and progress.json come beside it

Whoever runs a shard needs nothing but the path of its job file.
"""

import contextlib
import contextvars
import json
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mal_core.jobs.phase1 import LabelJob, run_job
from mal_core.processes.locks import held, is_held
from mal_core.processes.progress import EVENTS_VARIABLE, ProgressRelay
from mal_core.processes.records import read_record, to_json, write_record

logger = logging.getLogger(__name__)

TITLE = "label boxes"
SHARDS, OWNER = "shards", "owner"
JOB, PROGRESS = "shard_job.json", "progress.json"
SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """One shard of a labeling job.

    Attributes:
        index: 0-based number of the shard.
        count: How many there are.
        num_threads: OpenMP threads of the child. The same for all, wherever they run:
            sums in another order would move the last bits of a logit.
    """

    label: LabelJob
    index: int
    count: int
    num_threads: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Report:
    """How far a shard is: its own boxes, and those of all shards."""

    done: int
    total: int
    all_boxes: int


def write_shard_jobs(label: LabelJob, count: int) -> list[Path]:
    """Job files for all shards of a labeling job."""
    root = label.output.parent / SHARDS
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    paths = []
    for index in range(count):
        job = ShardJob(label=label, index=index, count=count, num_threads=threads)
        path = root / f"{index + 1}-of-{count}" / JOB
        path.parent.mkdir(parents=True, exist_ok=True)
        write_record(path, job, indent=2)
        paths.append(path)
    return paths


def label_shard_in_child(path: Path) -> None:
    """Label one shard in a child process; continues what lies in the journal.

    Raises:
        MalCoreError: As the child raised it.
        WorkerError: The child died otherwise; carries its last lines.
    """
    # The progress of one shard is no news beside that of all; its log file keeps it.
    threads = read_record(ShardJob, path).num_threads
    variables = {"OMP_NUM_THREADS": threads, EVENTS_VARIABLE: "lines"}
    run_job("shard", path, on_line=lambda line: logger.debug("%s", line), environment=variables)


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Hold the lock that keeps shards of `folder` at work.

    A shard on another machine does not die with us. It looks at this lock after every
    batch, and the lock ends with this process, however that ends.
    """
    with held(folder / SHARDS / OWNER):
        yield


def is_wanted(job_path: Path) -> bool:
    """Whether the process that wants this shard is still there."""
    return is_held(job_path.parents[1] / OWNER)


def report_shard(job_path: Path, done: int, total: int, all_boxes: int) -> None:
    """Child side: leave how far the shard is for `shown_together`."""
    path = job_path.with_name(PROGRESS)
    aside = path.with_suffix(f".{os.getpid()}")
    aside.write_text(json.dumps(to_json(_Report(done=done, total=total, all_boxes=all_boxes))))
    aside.replace(path)


@contextlib.contextmanager
def shown_together(jobs: Sequence[Path]) -> Iterator[None]:
    """Show the progress of all shards as one, wherever they run."""
    view, stop = _Together(jobs), threading.Event()
    # The context tells handlers of log lines to which flow run these belong.
    watch = contextvars.copy_context().run
    thread = threading.Thread(target=watch, args=(view.follow, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        view.close()


class _Together:
    """Adds up what the shards report."""

    def __init__(self, jobs: Sequence[Path]) -> None:
        self._paths = [job.with_name(PROGRESS) for job in jobs]
        self._relay = ProgressRelay()
        self._initial: int | None = None
        self._shown = -1

    def follow(self, stop: threading.Event) -> None:
        """Look at the reports until told to stop, and once more then."""
        while not stop.wait(SECONDS_BETWEEN_LOOKS):
            self.look()
        self.look()

    def look(self) -> None:
        """Show what has changed."""
        reports = [report for path in self._paths if (report := _read(path)) is not None]
        if not reports:
            return
        done = sum(report.done for report in reports)
        self._initial = done if self._initial is None else self._initial
        if done > self._shown:
            self._shown = done
            event = {"title": TITLE, "done": done, "total": reports[0].all_boxes}
            self._relay.show({**event, "initial": self._initial, "values": {}})

    def close(self) -> None:
        """Finish the bar."""
        self._relay.close()


def _read(path: Path) -> _Report | None:
    try:
        return read_record(_Report, path)
    except (OSError, ValueError):  # the shard has not started
        return None
