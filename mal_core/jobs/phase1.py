"""Phase 1 as child processes: what a stage starts, and what runs in the child.

A job is a JSON file; the child is `python -m mal_core.jobs.worker train|label|shard JOB`.
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mal_core.config import EncoderConfig, MalConfig
from mal_core.config.labelers import LabelerConfig
from mal_core.errors import WorkerError
from mal_core.processes.child_errors import forget_failure, read_failure
from mal_core.processes.nodes import run_ranks
from mal_core.processes.records import from_json, write_record
from mal_core.types import PseudoLabelSet

logger = logging.getLogger(__name__)


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


def _run(
    verb: str, job: TrainJob | LabelJob, folder: Path, on_line: Callable[[str], None] | None
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    job_path = folder / f"{verb}_job.json"
    write_record(job_path, job, indent=2)
    run_job(verb, job_path, processes=_processes(job), on_line=on_line)


def run_job(
    verb: str,
    job_path: Path,
    *,
    processes: int = 1,
    on_line: Callable[[str], None] | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run the child process for a job file; its output goes to VERB.log beside the file.

    Raises:
        MalCoreError: As the child raised it.
        WorkerError: The child died otherwise; carries its last lines.
    """
    forget_failure(job_path)
    try:
        run_ranks(
            ["-m", "mal_core.jobs.worker", verb, str(job_path)],
            num_processes=processes,
            what=f"mal_core.jobs.worker {verb}",
            log_path=job_path.with_name(f"{verb}.log"),
            on_line=on_line,
            environment=environment,
        )
    except WorkerError as error:
        raise read_failure(job_path) or error from error


def _processes(job: TrainJob | LabelJob) -> int:
    return 1 if isinstance(job, LabelJob) else job.mal.num_processes


def train_in_child(job: TrainJob, *, on_line: Callable[[str], None] | None = None) -> None:
    """Train in a child process; continues what lies in `job.output_dir`.

    Leaves `checkpoint.pth`, `scalars.jsonl` and `train.log` there.

    Raises:
        ConfigError, DatasetError, CheckpointError, TrainingError: As the child raised them.
        WorkerError: The child died otherwise; carries its last lines.
        NodeError: Another machine of the run has ended or is out of reach.
    """
    _run("train", job, job.output_dir, on_line)


def label_in_child(
    job: LabelJob, *, on_line: Callable[[str], None] | None = None
) -> PseudoLabelSet:
    """Label in a child process; continues what lies beside `job.output`.

    Raises:
        MalCoreError: As the child raised it.
        WorkerError: The child died otherwise; carries its last lines.
    """
    folder = job.output.parent
    _run("label", job, folder, on_line)
    summary = json.loads((folder / "label_summary.json").read_text())
    paths = {"annotations": str(job.output), "ledger": str(job.ledger)}
    return from_json(PseudoLabelSet, {**summary, **paths}, folder / "label_summary.json")
