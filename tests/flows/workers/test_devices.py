"""Which GPUs trainings get that run side by side; no GPU is needed to see it."""

import logging
import os
import sys
from functools import partial
from pathlib import Path

import pytest

from flows.workers.devices import VISIBLE, slots, spread, visible_devices
from flows.workers.side_by_side import side_by_side
from mal_core.processes.children import run_child

LISTING = """\
GPU 0: NVIDIA A100 (UUID: GPU-aa)
  MIG 1g.5gb Device 0: (UUID: MIG-bb)
GPU 1: NVIDIA A100 (UUID: GPU-cc)
"""


def put_nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let a script take the place of nvidia-smi."""
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.delenv(VISIBLE, raising=False)


@pytest.mark.parametrize(
    ("value", "names"),
    [("0,1", ("0", "1")), (" 3 , GPU-aa", ("3", "GPU-aa")), ("", ()), ("-1", ()), ("2,-1,3", "2")],
)
def test_the_users_choice_of_gpus_counts(value, names, monkeypatch):
    monkeypatch.setenv(VISIBLE, value)
    assert visible_devices() == tuple(names)


def test_without_a_choice_all_gpus_of_the_machine_are_named(tmp_path, monkeypatch):
    put_nvidia_smi(tmp_path, monkeypatch, f"cat <<'EOT'\n{LISTING}EOT")
    assert visible_devices() == ("GPU-aa", "GPU-cc")


def test_a_machine_without_gpus_has_none(tmp_path, monkeypatch):
    put_nvidia_smi(tmp_path, monkeypatch, "echo 'No devices were found'; exit 6")
    assert visible_devices() == ()


@pytest.mark.parametrize(
    ("jobs", "num_processes", "devices", "wanted"),
    [
        (None, 1, "", [()]),
        (3, 2, "", [(), (), ()]),
        (None, 1, "01", [("0",), ("1",)]),
        (1, 1, "01", [()]),
        (None, 2, "01234", [("0", "1"), ("2", "3")]),
        (2, 1, "0123", [("0",), ("1",)]),
        (None, 4, "01", [()]),
    ],
)
def test_slots_are_disjoint_and_as_many_as_fit(jobs, num_processes, devices, wanted):
    assert slots(jobs, num_processes, tuple(devices)) == wanted


def test_too_few_gpus_are_said(caplog):
    with caplog.at_level(logging.INFO, logger="flows.workers.devices"):
        assert len(slots(4, 2, tuple("0123"))) == 2
    assert "segmenter_jobs=4: 4 GPUs with 2 for each training allow 2 at a time" in caplog.text


def test_children_side_by_side_see_gpus_of_their_own(tmp_path, monkeypatch):
    """Two slots of two; each child says its GPUs and waits until the other one has started."""
    monkeypatch.setenv(VISIBLE, "0,1,2,3")
    code = (
        "import os, sys, time\nfrom pathlib import Path\n"
        "here, number = Path(sys.argv[1]), int(sys.argv[2])\n"
        f"print(os.environ['{VISIBLE}'])\n"
        "(here / f'up{number}').touch()\n"
        "while not (here / f'up{number ^ 1}').exists(): time.sleep(.02)\n"
    )

    def child(number: int) -> str:
        log = tmp_path / f"log{number}"
        command = [sys.executable, "-c", code, str(tmp_path), str(number)]
        run_child(command, what="child", log_path=log)
        return log.read_text().strip()

    places = slots(None, 2, visible_devices())
    seen = side_by_side(spread([partial(child, n) for n in range(4)], places), len(places))
    assert len(places) == 2
    assert {*seen[:2]} == {*seen[2:]} == {"0,1", "2,3"}
    assert os.environ[VISIBLE] == "0,1,2,3"
