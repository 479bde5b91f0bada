"""Phase 1 as child processes: what a stage starts, and what runs in the child.

A job is a JSON file; the child is `python -m mal_core.jobs.worker train|label|shard JOB`.
"""

import dataclasses
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mal_core.artifacts import write_json
from mal_core.config import EncoderConfig, MalConfig, mal_config
from mal_core.errors import WorkerError
from mal_core.processes.child_errors import forget_failure, read_failure
from mal_core.processes.nodes import run_ranks
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
    """Label the boxes of a COCO file with a trained checkpoint.

    `threshold`, `network` and the other labeling settings of `mal` apply; the
    network's shape comes from the checkpoint. `side_by_side` is how many processes of
    this machine label together, for the cost of the labels.
    """

    images: Path
    annotations: Path
    strict: bool
    checkpoint: Path
    mal: MalConfig
    output: Path
    ledger: Path
    side_by_side: int = 1


def _to_json(job: TrainJob | LabelJob) -> dict[str, Any]:
    return dict(json.loads(json.dumps(dataclasses.asdict(job), default=str)))


def _encoder(values: dict[str, Any]) -> EncoderConfig:
    weights = values["weights"]
    return EncoderConfig(**{**values, "weights": None if weights is None else Path(weights)})


def read_train_job(path: Path) -> TrainJob:
    """The job that `train_in_child` wrote."""
    values = json.loads(path.read_text())
    paths = {key: Path(values[key]) for key in ("images", "boxes", "output_dir")}
    parts = {"encoder": _encoder(values["encoder"]), "mal": mal_config(values["mal"])}
    return TrainJob(**{**values, **paths, **parts})


def read_label_job(path: Path) -> LabelJob:
    """The job that `label_in_child` wrote."""
    return label_job_from_json(json.loads(path.read_text()))


def label_job_from_json(values: Mapping[str, Any]) -> LabelJob:
    """Inverse of the JSON form of a job."""
    keys = ("images", "annotations", "checkpoint", "output", "ledger")
    return LabelJob(
        **{**values, **{key: Path(values[key]) for key in keys}, "mal": mal_config(values["mal"])}
    )


def _run(
    verb: str, job: TrainJob | LabelJob, folder: Path, on_line: Callable[[str], None] | None
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    job_path = folder / f"{verb}_job.json"
    write_json(job_path, _to_json(job), indent=2)
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
    paths = {"annotations": job.output, "ledger": job.ledger}
    return PseudoLabelSet(**{**summary, **paths})
