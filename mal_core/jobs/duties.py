"""What the child process of phase 1 does: train, label, or label one shard."""

import dataclasses
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from mal_core.data.coco import read_boxes
from mal_core.errors import SPACE_ADVICE, MalCoreError, lacks_space
from mal_core.jobs.phase1 import LabelJob, TrainJob
from mal_core.jobs.reads import certify, require_no_masks, watch_reads
from mal_core.jobs.shards import ShardJob, is_wanted, report_shard
from mal_core.labelers.registry import photo_labeler
from mal_core.labelers.weights import weight_files, weights_name
from mal_core.labeling.protocol import PhotoLabeler
from mal_core.labeling.work import generate_pseudo_labels, label_shard
from mal_core.models.checkpoints import checkpoint_origin
from mal_core.models.provenance import EncoderOrigin, origin_of, write_origin
from mal_core.processes.child_errors import write_failure
from mal_core.processes.files import write_json
from mal_core.processes.ranks import record_hardware
from mal_core.processes.records import read_record
from mal_core.training.loop import train_labeler
from mal_core.types import BoxDataset


def run_train(job_path: Path) -> None:
    """Train as the job file says."""
    record_hardware(job_path.parent)
    job = read_record(TrainJob, job_path)
    watch_reads(job.output_dir)
    require_no_masks(job.boxes)
    dataset = read_boxes(job.images, job.boxes, strict=job.strict)
    train_labeler(dataset, job.encoder, job.mal, seed=job.seed, output_dir=job.output_dir)
    if os.environ.get("RANK", "0") == "0":
        write_origin(job.output_dir, origin_of(job.encoder))
        weights = [] if job.encoder.weights is None else [job.encoder.weights]
        _certify(job.output_dir, dataset, weights, job.mal.guide)


def _certify(
    folder: Path, dataset: BoxDataset, weights: Sequence[Path], guide: Path | None = None
) -> None:
    names = [image.file_name for image in dataset.images]
    certificate = certify(
        folder,
        boxes=dataset.annotations_path,
        images=dataset.image_root,
        names=names,
        weights=weights,
        guide=guide,
    )
    logging.info("%s", certificate.line())


def run_label(job_path: Path) -> None:
    """Label as the job file says, and leave the accounting in label_summary.json."""
    job = read_record(LabelJob, job_path)
    record_hardware(job_path.parent, job.side_by_side)
    folder = job.output.parent
    watch_reads(folder)
    require_no_masks(job.annotations)
    origin = _label_origin(job)
    if origin is not None:
        write_origin(folder, origin)
    dataset, writer = _label_inputs(job)
    result = generate_pseudo_labels(
        dataset,
        writer,
        source=job.annotations,
        output=job.output,
        ledger=job.ledger,
    )
    summary = dataclasses.asdict(result)
    write_json(
        job.output.parent / "label_summary.json",
        {key: summary[key] for key in ("num_boxes", "num_masks", "num_crowds", "num_skipped")},
    )
    _certify(folder, dataset, _weights(job))


def run_shard(job_path: Path) -> None:
    """Label one shard as the job file says; end early once nobody wants it any more."""
    job = read_record(ShardJob, job_path)
    watch_reads(job.label.output.parent)
    if torch.cuda.is_available():  # shards of one machine spread over its GPUs
        torch.cuda.set_device(job.index % torch.cuda.device_count())
    dataset, writer = _label_inputs(job.label)

    def report(done: int, total: int) -> None:
        report_shard(job_path, done, total, len(dataset.boxes))
        if not is_wanted(job_path):
            os.kill(os.getpid(), signal.SIGTERM)  # ended from outside, as by a dying parent

    shard = (job.index, job.count)
    label_shard(dataset, writer, output=job.label.output, shard=shard, report=report)


def _label_origin(job: LabelJob) -> EncoderOrigin | None:
    """Where the weights that draw come from, our own network's first; None where there are none."""
    if job.checkpoint is not None:
        return checkpoint_origin(job.checkpoint)
    for one in job.labeler.drawn_by:
        if one.weights is not None:
            name = weights_name(one.weights)
            return EncoderOrigin(name=one.name, weights=name, licence=None, stated_by="nobody")
    return None


def _weights(job: LabelJob) -> list[Path]:
    """The files of weights that a job reads."""
    own = [] if job.checkpoint is None else [job.checkpoint]
    folders = [Path(one.weights) for one in job.labeler.drawn_by if one.weights is not None]
    return [*own, *(path for folder in folders for path in weight_files(folder))]


def _label_inputs(job: LabelJob) -> tuple[BoxDataset, PhotoLabeler]:
    writer = photo_labeler(job.labeler, job.checkpoint, job.mal)
    dataset = read_boxes(
        job.images,
        job.annotations,
        strict=job.strict,
        crowds_as_objects=writer.crowds_as_objects,
    )
    writer.prepare(dataset, job.output.parent)
    return dataset, writer


def perform(verb: str, job_path: Path) -> int:
    """Run one job; errors of the user's making end as one message, not a traceback.

    Args:
        verb: train, label or shard.
        job_path: The job's file.

    Returns:
        The exit status.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    try:
        {"train": run_train, "label": run_label, "shard": run_shard}[verb](job_path)
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
