"""`mal` on two machines, as two real commands on loopback that train together."""

import dataclasses
import json
import subprocess
import time
from pathlib import Path

import pytest

from mal_core.jobs.phase1 import TrainJob, train_in_child
from mal_core.processes.files import sha256_file
from mal_core.processes.nodes import free_port
from mal_core.processes.records import read_record
from tests.mal_core.worker_runs import wait_for_step

pytestmark = pytest.mark.slow

PATIENCE = 300.0
DEATH_IS_SEEN = 120.0
"""Seconds; torchrun alone would wait for ten minutes or longer."""


def together() -> list[str]:
    """Settings of two nodes, for one run."""
    return [
        "num_nodes=2",
        f"rendezvous=127.0.0.1:{free_port()}",
        f"node_wait_minutes={PATIENCE / 60:g}",
    ]


def output_of(process: subprocess.Popen[str], status: int, seconds: float = PATIENCE) -> str:
    output = process.communicate(timeout=seconds)[0]
    assert process.returncode == status, output
    return output


def stored(root: Path, stage: str, name: str) -> Path:
    (found,) = (root / "store" / stage).glob(f"*/{name}")
    return found


def test_killed_and_repeated_two_nodes_make_what_one_node_makes(
    fresh_mal, files, phase_1, tmp_path
) -> None:
    """SIGKILL of node 1 ends node 0; the same commands then finish the very same checkpoint."""
    mal = fresh_mal
    settings = [*files()[:2], *phase_1, "mal.max_steps=60"]
    nodes = together()
    first = mal.start("train", *settings, *nodes)
    other = mal.start("train", *settings, *nodes, "node_rank=1")
    curve = wait_for_curve(mal.root)
    other.kill()
    other.communicate()
    assert "node 1 has ended or is out of reach" in output_of(first, 1, DEATH_IS_SEEN)
    mal.wait_until_alone()
    assert not curve.with_name("checkpoint.pth").exists()

    first = mal.start("train", *settings, *nodes)
    other = mal.start("train", *settings, *nodes, "node_rank=1")
    assert "node 1: node 0 has finished" in output_of(other, 0)
    assert "continuing an interrupted attempt" in output_of(first, 0)
    assert (mal.workdir / "node_1.log").is_file()
    checkpoint = stored(mal.root, "train-mal", "checkpoint.pth")
    assert not list(checkpoint.parent.glob("node*")), "node 1 leaves nothing in the store"
    # The same job with as many processes on one machine.
    job = read_record(TrainJob, checkpoint.with_name("train_job.json"))
    assert job.mal.num_processes == 2
    train_in_child(dataclasses.replace(job, output_dir=tmp_path / "alone"))
    assert sha256_file(tmp_path / "alone" / "checkpoint.pth") == sha256_file(checkpoint)


def wait_for_curve(root: Path) -> Path:
    """Until the training has made steps and could go on for a while."""
    deadline = time.monotonic() + PATIENCE
    while not (found := list((root / "store" / "train-mal").glob("*.partial/scalars.jsonl"))):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    wait_for_step(found[0], 10)
    return found[0]


def test_two_nodes_train_a_segmenter_together(fresh_mal, files, tiny, drawn) -> None:
    one = [text for text in tiny if not text.startswith("segmenter_jobs")]
    given = f"pseudo_labels={drawn / 'train' / 'annotations.json'}"
    settings = [*one, given, "human_arm=none"]
    nodes = together()
    first = fresh_mal.start("segment", *settings, *nodes)
    other = fresh_mal.start("segment", *settings, *nodes, "node_rank=1")
    assert "segmenter solov2_r18: done" in output_of(other, 0)
    output_of(first, 0)
    folder = stored(fresh_mal.root, "train-segmenter", "predictions.json").parent
    lines = [json.loads(line) for line in (folder / "scalars.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert json.loads((folder / "hardware.json").read_text())["devices"] == 2
    assert "Distributed training: True" in (folder / "log.txt").read_text()
    assert not (folder / "collected").exists()
