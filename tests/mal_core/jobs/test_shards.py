"""Shards: job files, the lock that keeps them at work, one progress for all, real children."""

import logging
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mal_core.errors import CheckpointError, WorkerError
from mal_core.jobs import shards
from mal_core.jobs.phase1 import LabelJob
from mal_core.labeling.work import JOURNAL
from mal_core.processes import progress
from mal_core.processes.records import read_record
from tests.mal_core.drawn import tiny_mal


@pytest.fixture
def job(tmp_path: Path) -> LabelJob:
    return LabelJob(
        images=tmp_path / "images",
        annotations=tmp_path / "annotations.json",
        strict=False,
        checkpoint=tmp_path / "checkpoint.pth",
        mal=tiny_mal(),
        output=tmp_path / "labels" / "train.json",
        ledger=tmp_path / "labels" / "skipped.json",
    )


def test_a_job_file_says_everything(job: LabelJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    paths = shards.write_shard_jobs(job, 3)
    names = [path.parent.name for path in paths]
    assert names == ["1-of-3", "2-of-3", "3-of-3"]
    assert read_record(shards.ShardJob, paths[1]) == shards.ShardJob(
        label=job, index=1, count=3, num_threads="3"
    )


def test_a_shard_is_wanted_while_its_owner_lives(job: LabelJob) -> None:
    (path,) = shards.write_shard_jobs(job, 1)
    assert not shards.is_wanted(path)
    with shards.owned(job.output.parent):
        assert shards.is_wanted(path)
    assert not shards.is_wanted(path)


def test_a_shard_is_not_wanted_after_its_owner_was_killed(job: LabelJob) -> None:
    (path,) = shards.write_shard_jobs(job, 1)
    hold = (
        "import sys, time; from pathlib import Path; from mal_core.jobs import shards\n"
        "with shards.owned(Path(sys.argv[1])):\n    print('owned', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", hold, str(job.output.parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "owned\n"
        assert shards.is_wanted(path)
        owner.send_signal(signal.SIGKILL)
    assert not shards.is_wanted(path)


def test_all_shards_are_one_progress(
    job: LabelJob, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int, int]] = []
    listener = lambda title, done, total, _: seen.append((title, done, total))  # noqa: E731
    monkeypatch.setattr(progress, "listeners", [listener])
    paths = shards.write_shard_jobs(job, 2)
    with caplog.at_level(logging.INFO), shards.shown_together(paths):
        shards.report_shard(paths[0], 4, 6, 10)
        shards.report_shard(paths[0], 6, 6, 10)
        shards.report_shard(paths[1], 4, 4, 10)
    assert seen[-1] == ("label boxes", 10, 10)
    assert "label boxes: 10/10 (100 %)" in caplog.text


def test_an_error_of_the_child_is_raised_here(job: LabelJob) -> None:
    (path,) = shards.write_shard_jobs(job, 1)
    with shards.owned(job.output.parent), pytest.raises(CheckpointError, match="no such file"):
        shards.label_shard_in_child(path)


def test_a_shard_that_nobody_wants_ends_before_its_first_batch(tmp_path: Path) -> None:
    import dataclasses

    from mal_core.models.checkpoints import save_labeler
    from mal_core.models.labeler import build_labeler
    from tests.mal_core.drawn import TINY_ENCODER
    from tests.mal_core.labeling.test_work import write_coco

    source, checkpoint = write_coco(tmp_path), tmp_path / "checkpoint.pth"
    labeler, report = build_labeler(TINY_ENCODER, tiny_mal())
    settings = dataclasses.asdict(TINY_ENCODER), dataclasses.asdict(tiny_mal())
    save_labeler(checkpoint, labeler, encoder=settings[0], mal=settings[1], load_report=str(report))
    folder = tmp_path / "labels"
    label = LabelJob(
        images=tmp_path / "images",
        annotations=source,
        strict=False,
        checkpoint=checkpoint,
        mal=tiny_mal(),
        output=folder / "train.json",
        ledger=folder / "skipped.json",
    )
    (path,) = shards.write_shard_jobs(label, 1)
    with pytest.raises(WorkerError) as caught:
        shards.label_shard_in_child(path)
    assert caught.value.return_code == -signal.SIGTERM
    assert not list((folder / JOURNAL).iterdir())

    with shards.owned(folder):
        shards.label_shard_in_child(path)
    assert len(list((folder / JOURNAL).iterdir())) == 1
