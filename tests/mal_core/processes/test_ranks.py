"""Several processes that train together: real gloo ranks under torchrun."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mal_core.config import SelfTrainingConfig
from mal_core.jobs.phase1 import TrainJob, train_in_child
from mal_core.processes.ranks import joined_group, without_exchange
from mal_core.training.loop import train_labeler
from mal_core.training.schedule import batch_numbers
from tests.mal_core.drawn import TINY_ENCODER, draw_ellipses, tiny_mal
from tests.mal_core.worker_runs import train_job, wait_for_step

ENCODER = dataclasses.replace(TINY_ENCODER, drop_path=0.0)


def losses(folder: Path) -> list[float]:
    """The loss of every line of the curves."""
    lines = (folder / "scalars.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def student(folder: Path) -> torch.Tensor:
    """All weights of the trained student, in one row."""
    tensors = torch.load(folder / "checkpoint.pth", weights_only=True)["student"]
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])


def torchrun(job: Path, count: int = 2) -> list[str]:
    """The command that starts a training with several processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*launcher, f"--nproc-per-node={count}", "-m", "mal_core.jobs.worker", "train", str(job)]


def test_alone_there_is_nothing_to_exchange():
    network = torch.nn.Linear(2, 2)
    with joined_group() as group:
        assert group.wrap(network) is network
        assert group.mean(torch.tensor([3.0])).item() == 3.0
        assert group.is_main
        assert group.agrees_on(7)
    with without_exchange(network):
        assert torch.is_grad_enabled()


def test_the_batches_of_all_processes_are_those_of_one_larger_process():
    config = tiny_mal(max_steps=3, accumulate_steps=2)
    with joined_group() as one:
        two = [dataclasses.replace(one, rank=rank, world_size=2) for rank in (0, 1)]
    numbers = sorted(n for group in two for n in batch_numbers(config, group, 1, config.max_steps))
    assert numbers == list(range(4, 12))


@pytest.mark.slow
def test_two_processes_follow_one_with_twice_the_batch(tmp_path):
    dataset, _ = draw_ellipses(tmp_path / "images", 6)
    same = {"max_steps": 30, "scale_learning_rate": False, "checkpoint_every": 1000}
    one, two = tiny_mal(batch_size=8, **same), tiny_mal(batch_size=4, num_processes=2, **same)
    train_labeler(dataset, ENCODER, one, seed=0, output_dir=tmp_path / "one")
    train_job(tmp_path, dataset, two, ENCODER)
    job = TrainJob(
        images=dataset.image_root,
        boxes=tmp_path / "boxes.json",
        strict=False,
        encoder=ENCODER,
        mal=two,
        seed=0,
        output_dir=tmp_path / "two",
    )
    train_in_child(job)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)
    torch.testing.assert_close(
        student(tmp_path / "two"), student(tmp_path / "one"), atol=5e-5, rtol=0
    )


@pytest.mark.slow
def test_two_processes_end_together_however_and_continue_on_the_same_trajectory(tmp_path):
    dataset, _ = draw_ellipses(tmp_path / "images", 4)
    rounds = SelfTrainingConfig(rounds=1, length=0.6)
    config = tiny_mal(max_steps=50, checkpoint_every=7, self_training=rounds)
    job = train_job(tmp_path, dataset, config, ENCODER)
    subprocess.run(torchrun(job), check=True, capture_output=True)
    whole, curve = student(tmp_path / "parts"), losses(tmp_path / "parts")
    for leftover in ("checkpoint.pth", "scalars.jsonl"):
        (tmp_path / "parts" / leftover).unlink()

    end_at(job, 20, signal.SIGTERM, of_a_rank=False)
    end_at(job, 40, signal.SIGKILL, of_a_rank=True)
    end_at(job, 60, signal.SIGKILL, of_a_rank=False)
    subprocess.run(torchrun(job), check=True, capture_output=True)
    assert torch.equal(student(tmp_path / "parts"), whole)
    assert losses(tmp_path / "parts") == curve


def end_at(job: Path, step: int, ending: signal.Signals, *, of_a_rank: bool) -> None:
    """Train until a step, then signal torchrun or one rank; all of them must end."""
    launcher = subprocess.Popen(torchrun(job), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_step(job.parent / "parts" / "scalars.jsonl", step)
    ranks = children_of(launcher.pid)
    assert len(ranks) == 2
    os.kill(ranks[-1] if of_a_rank else launcher.pid, ending)
    assert launcher.wait(timeout=60) != 0
    wait_until_gone(ranks)
    assert (job.parent / "parts" / "state.pth").exists()
    assert not (job.parent / "parts" / "checkpoint.pth").exists()


def children_of(parent: int) -> list[int]:
    """Processes that a process started, by their ids."""
    listing = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=True
    )
    return [int(line) for line in listing.stdout.split()]


def wait_until_gone(processes: list[int]) -> None:
    """Until none of these processes runs."""
    deadline = time.monotonic() + 20
    alive = processes
    while alive and time.monotonic() < deadline:
        alive = [pid for pid in alive if _runs(pid)]
        time.sleep(0.1)
    assert not alive, f"still running: {alive}"


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return state != "Z"
