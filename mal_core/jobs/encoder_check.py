"""Whether an encoder can be built with its weights: asked in a child, before what takes long.

The child is `python -m mal_core.jobs.encoder_check JOB.json`; who asks imports no torch.
"""

import logging
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mal_core.config import EncoderConfig
from mal_core.errors import MalCoreError, WorkerError
from mal_core.processes.child_errors import read_failure, write_failure
from mal_core.processes.children import launcher, run_child
from mal_core.processes.collector import end_uncollected, uncollected_imports
from mal_core.processes.records import read_record, write_record

MODULE = "mal_core.jobs.encoder_check"


@dataclass(frozen=True, kw_only=True)
class EncoderJob:
    """Build an encoder for crops of `crop_size` px, and load its weights."""

    encoder: EncoderConfig
    crop_size: int


def check_in_child(encoder: EncoderConfig, crop_size: int) -> None:
    """Build an encoder as a training will, and forget it; weights of a hub stay in its cache.

    Raises:
        ConfigError: The encoder, or its options, are none that we can take.
        CheckpointError: Its weights cannot be loaded, or are those of another network.
        WorkerError: The child died otherwise; carries its last lines.
    """
    with tempfile.TemporaryDirectory(prefix="mal-encoder-") as folder:
        job_path = Path(folder) / "encoder_job.json"
        write_record(job_path, EncoderJob(encoder=encoder, crop_size=crop_size))
        command = [*launcher(1), "-m", MODULE, str(job_path)]
        try:
            run_child(command, what=MODULE, log_path=job_path.with_name("encoder.log"))
        except WorkerError as error:
            raise read_failure(job_path) or error from error


def main(job_path: Path) -> int:
    """Do the job of a file; returns the exit status."""
    end_uncollected()
    with uncollected_imports():
        from mal_core.models.encoder import build_encoder
    job = read_record(EncoderJob, job_path)
    try:
        _, report = build_encoder(job.encoder, job.crop_size)
    except MalCoreError as error:
        write_failure(job_path, error)
        return 1
    logging.info("%s", report)
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    sys.exit(main(Path(sys.argv[1])))
