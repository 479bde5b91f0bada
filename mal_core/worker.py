"""The child process of phase 1: `python -m mal_core.worker train|label JOB.json`."""

import dataclasses
import logging
import os
import sys
from pathlib import Path

import torch

from mal_core.artifacts import write_json
from mal_core.checkpoints import load_labeler
from mal_core.config import LABELING_KEYS, MalConfig
from mal_core.data.coco import read_boxes
from mal_core.distributed import record_hardware
from mal_core.errors import SPACE_ADVICE, MalCoreError, lacks_space
from mal_core.jobs import read_label_job, read_train_job, write_failure
from mal_core.labeling import generate_pseudo_labels
from mal_core.training import train_labeler


def run_train(job_path: Path) -> None:
    """Train as the job file says."""
    job = read_train_job(job_path)
    dataset = read_boxes(job.images, job.boxes, strict=job.strict)
    train_labeler(dataset, job.encoder, job.mal, seed=job.seed, output_dir=job.output_dir)


def run_label(job_path: Path) -> None:
    """Label as the job file says, and leave the accounting in label_summary.json."""
    job = read_label_job(job_path)
    labeler, trained = load_labeler(job.checkpoint)
    dataset = read_boxes(
        job.images,
        job.annotations,
        strict=job.strict,
        crowds_as_objects=trained.compat_official,
    )
    result = generate_pseudo_labels(
        dataset,
        labeler,
        labeling_config(trained, job.mal),
        source=job.annotations,
        output=job.output,
        ledger=job.ledger,
    )
    summary = dataclasses.asdict(result)
    write_json(
        job.output.parent / "label_summary.json",
        {key: summary[key] for key in ("num_boxes", "num_masks", "num_crowds", "num_skipped")},
    )


def labeling_config(trained: MalConfig, chosen: MalConfig) -> MalConfig:
    """The checkpoint's settings with the labeling choices of this run."""
    choices = {key: getattr(chosen, key) for key in LABELING_KEYS}
    return dataclasses.replace(trained, **choices)


def main() -> int:
    """Run one job; errors of the user's making end as one message, not a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    verb, job_path = sys.argv[1], Path(sys.argv[2])
    record_hardware(job_path.parent)
    try:
        {"train": run_train, "label": run_label}[verb](job_path)
    except MalCoreError as error:
        sys.stdout.write(f"{error}\n")
        write_failure(job_path, error)
        return 1
    except (OSError, RuntimeError) as error:
        if not lacks_space(error):
            raise
        sys.stdout.write(f"{job_path.parent}: {SPACE_ADVICE}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
