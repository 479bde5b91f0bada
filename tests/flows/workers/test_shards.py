"""Labels are the same bytes however the work is cut, whoever does it, and whatever is killed."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mal_core.processes.files import sha256_file
from scenes.write import write_scenes
from tests.flows.conftest import Mal
from tests.flows.prefect_server_process import Server, answering

pytestmark = pytest.mark.slow

FILES = ("train.json", "skipped.json")
NUM_IMAGES = 88
"""Eleven batches: after two that are stopped there is work for a third."""
DEADLINE = 240.0
FLOW = """
import json, sys
from flows import pipeline
from flows.lifetime import prefect_server
with prefect_server.server():
    pipeline.mal_pipeline(overrides=json.loads(sys.argv[1]), stage="generate-pseudo-labels")
"""


@pytest.fixture(scope="module")
def overrides(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A checkpoint with random weights, photos to label with it, and crops that take a while."""
    import torch

    from mal_core.models.checkpoints import save_labeler
    from mal_core.models.labeler import build_labeler
    from tests.mal_core.drawn import TINY_ENCODER, tiny_mal

    root = tmp_path_factory.mktemp("photos")
    write_scenes(root / "scenes", num_train=NUM_IMAGES, num_val=1, size=96, seed=3)
    torch.manual_seed(0)
    labeler, report = build_labeler(TINY_ENCODER, tiny_mal())
    with torch.no_grad():  # about half of each box becomes foreground
        labeler.student.instance_head.layers[2].bias.add_(0.1)
    settings = {"encoder": TINY_ENCODER, "mal": tiny_mal()}
    plain = {name: dataclasses.asdict(one) for name, one in settings.items()}
    save_labeler(root / "checkpoint.pth", labeler, **plain, load_report=str(report))
    train = root / "scenes" / "train"
    return [
        f"checkpoint={root / 'checkpoint.pth'}",
        f"data.train.images={train / 'images'}",
        f"data.train.annotations={train / 'annotations.json'}",
        "mal.label_crop_size=256",
        "mal.mask_threshold=0.3",
    ]


@pytest.fixture(scope="module")
def whole(mal: Mal, overrides: list[str]) -> dict[str, str]:
    """Digests of the labels that one process made."""
    mal.run("label", *overrides)
    content = json.loads((mal.workdir / "labels" / "train.json").read_text())
    assert len({entry["area"] for entry in content["annotations"]}) > 20
    return digests(mal)


def digests(command: Mal) -> dict[str, str]:
    return {name: sha256_file(command.workdir / "labels" / name) for name in FILES}


def sharded(runner: str, count: int, workers: int = 2) -> list[str]:
    return [f"label_runner={runner}", f"label_shards={count}", f"label_workers={workers}"]


def test_labels_are_the_same_bytes_for_any_cut(
    fresh_mal: Mal, overrides: list[str], whole: dict[str, str]
) -> None:
    printed = fresh_mal.run("label", *overrides, *sharded("threads", 2))
    assert "label boxes: " in printed
    expect_the_same(fresh_mal, whole)


def expect_the_same(command: Mal, whole: dict[str, str]) -> None:
    """The labels of one process, and nothing of the shards that made them."""
    assert digests(command) == whole
    stored = next((command.root / "store").glob("generate-pseudo-labels/*/MANIFEST.json"))
    kept = json.loads(stored.read_text())["files"]
    assert not [name for name in kept if name.startswith(("shards", "journal"))]


def test_the_cut_and_the_runner_are_not_in_the_key(
    mal: Mal, overrides: list[str], whole: dict[str, str]
) -> None:
    again = mal.run("label", *overrides, *sharded("ray", 7))
    assert "running" not in again
    assert digests(mal) == whole


def journal_lines(command: Mal) -> int:
    folders = (command.root / "store" / "generate-pseudo-labels").glob("*.partial/journal")
    return sum(path.read_text().count("\n") for one in folders for path in one.glob("*.jsonl"))


def start_flow(command: Mal, *overrides: str) -> subprocess.Popen[str]:
    """Start the Prefect flow, as a deployment runs it."""
    words = json.dumps([*overrides, f"workdir={command.workdir}"])
    return subprocess.Popen(
        [sys.executable, "-c", FLOW, words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=command.environment,
    )


def wait_for_a_batch(command: Mal, process: subprocess.Popen[str], before: int = 0) -> None:
    """Until a process has added a batch to the journal."""
    deadline = time.monotonic() + DEADLINE
    while journal_lines(command) <= before:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "nothing was labeled"
        time.sleep(0.05)


def stop_at_work(command: Mal, number: signal.Signals, *overrides: str) -> int:
    """Signal a labeling process when it has labeled something; returns its exit status."""
    before = journal_lines(command)
    process = start(command, *overrides)
    wait_for_a_batch(command, process, before)
    process.send_signal(number)
    process.communicate()
    return process.returncode


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One Prefect server for all; a temporary one per command costs as much as the labels."""
    with answering(Server(tmp_path_factory.mktemp("prefect"))) as found:
        yield found


@pytest.fixture
def patient_mal(tmp_path: Path, server: Server) -> Iterator[Mal]:
    """`mal` with a store of its own; a cluster may take 30 s to be gone."""
    command = Mal(tmp_path)
    command.environment["PREFECT_API_URL"] = server.api
    yield command
    command.wait_until_alone(30)


def shard_children(command: Mal) -> list[int]:
    """Process ids of the children that label shards."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_text().split("\0")
        except OSError:  # it ended meanwhile
            continue
        if words[1:4] == ["-m", "mal_core.jobs.worker", "shard"] and words[4].startswith(
            str(command.root)
        ):
            found.append(int(folder.name))
    return found


def start(command: Mal, *overrides: str) -> subprocess.Popen[str]:
    """Start what labels in shards with Prefect."""
    # Without Dask and Ray `mal label` needs no flow; a deployment has one anyway.
    in_flow = "label_runner=threads" in overrides
    return start_flow(command, *overrides) if in_flow else command.start("label", *overrides)


@pytest.mark.parametrize("runner", ["threads", "dask", "ray"])
def test_stopped_shards_leave_no_process_and_another_cut_with_a_killed_worker_gives_the_same_bytes(
    patient_mal: Mal, overrides: list[str], whole: dict[str, str], runner: str
) -> None:
    killed = stop_at_work(patient_mal, signal.SIGKILL, *overrides, *sharded(runner, 2))
    assert killed == -signal.SIGKILL
    patient_mal.wait_until_alone(30)
    ended = stop_at_work(patient_mal, signal.SIGTERM, *overrides, *sharded(runner, 3, 1))
    assert ended != 0
    patient_mal.wait_until_alone(30)

    process = start(patient_mal, *overrides, *sharded(runner, 2))
    victim = wait_for_child(patient_mal, process)
    if runner != "threads":  # the worker that started the child
        victim = int(Path(f"/proc/{victim}/stat").read_text().rpartition(")")[2].split()[1])
        assert victim != process.pid
    os.kill(victim, signal.SIGKILL)
    printed = process.communicate()[0]
    assert process.returncode == 0, printed
    assert "continuing an interrupted attempt" in printed
    assert "label boxes: " in printed
    expect_the_same(patient_mal, whole)


def wait_for_child(command: Mal, process: subprocess.Popen[str]) -> int:
    """Until a shard is at work; its process."""
    deadline = time.monotonic() + DEADLINE
    while not (found := shard_children(command)):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no shard was begun"
        time.sleep(0.05)
    return found[0]
