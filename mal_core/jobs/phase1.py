"""Phase 1 as child processes: what a stage starts, and what runs in the child.

A job is a JSON file; the child is `python -m mal_core.jobs.worker train|label|shard JOB`.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mal_core.config import EncoderConfig, MalConfig
from mal_core.config.labelers import LabelerConfig
from mal_core.errors import WorkerError
from mal_core.processes.child_errors import forget_failure, read_failure
from mal_core.processes.children import launcher, run_child
from mal_core.processes.nodes import run_ranks
from mal_core.processes.records import from_json, write_record
from mal_core.types import PseudoLabelSet

WORKER = "mal_core.jobs.worker"


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """Train a labeler on boxes; `boxes` is a COCO file without masks."""

    images: Path
    boxes: Path
    strict: bool
    encoder: EncoderConfig
    mal: MalConfig
    seed: int
    output_dir: Path


@dataclass(frozen=True, kw_only=True)
class LabelJob:
    """Label the boxes of a COCO file.

    Attributes:
        checkpoint: Of our own network; None where it does not draw.
        mal: The labeling settings apply; the network's shape comes from the checkpoint.
        labeler: Who draws; weights are those of a local folder.
        side_by_side: How many processes of this machine label together, for the cost of the
            labels.
    """

    images: Path
    annotations: Path
    strict: bool
    checkpoint: Path | None
    mal: MalConfig
    labeler: LabelerConfig = field(default_factory=LabelerConfig)
    output: Path
    ledger: Path
    side_by_side: int = 1


def _written(verb: str, job: TrainJob | LabelJob, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    job_path = folder / f"{verb}_job.json"
    write_record(job_path, job, indent=2)
    return job_path


def run_job(
    verb: str,
    job_path: Path,
    *,
    on_line: Callable[[str], None] | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run the child process for a job file; its output goes to VERB.log beside the file.

    Raises:
        MalCoreError: As the child raised it.
        WorkerError: The child died otherwise; carries its last lines.
    """
    with _failure_of(job_path):
        command = [*launcher(1), *_command(verb, job_path)]
        run_child(command, **_named(verb, job_path), on_line=on_line, environment=environment)


def _command(verb: str, job_path: Path) -> list[str]:
    return ["-m", WORKER, verb, str(job_path)]


def _named(verb: str, job_path: Path) -> dict[str, Any]:
    return {"what": f"{WORKER} {verb}", "log_path": job_path.with_name(f"{verb}.log")}


@contextlib.contextmanager
def _failure_of(job_path: Path) -> Iterator[None]:
    """What a child leaves word of is raised as it raised it."""
    forget_failure(job_path)
    try:
        yield
    except WorkerError as error:
        raise read_failure(job_path) or error from error


def train_in_child(job: TrainJob, *, on_line: Callable[[str], None] | None = None) -> None:
    """Train in a child process; continues what lies in `job.output_dir`.

    Leaves `checkpoint.pth`, `scalars.jsonl` and `train.log` there.

    Raises:
        ConfigError, DatasetError, CheckpointError, TrainingError: As the child raised them.
        WorkerError: The child died otherwise; carries its last lines.
        NodeError: Another machine of the run has ended or is out of reach.
    """
    job_path = _written("train", job, job.output_dir)
    with _failure_of(job_path):
        run_ranks(
            _command("train", job_path),
            num_processes=job.mal.num_processes,
            **_named("train", job_path),
            on_line=on_line,
        )


def label_in_child(
    job: LabelJob, *, on_line: Callable[[str], None] | None = None
) -> PseudoLabelSet:
    """Label in a child process; continues what lies beside `job.output`.

    Raises:
        MalCoreError: As the child raised it.
        WorkerError: The child died otherwise; carries its last lines.
    """
    folder = job.output.parent
    run_job("label", _written("label", job, folder), on_line=on_line)
    summary = json.loads((folder / "label_summary.json").read_text())
    paths = {"annotations": str(job.output), "ledger": str(job.ledger)}
    return from_json(PseudoLabelSet, {**summary, **paths}, folder / "label_summary.json")
