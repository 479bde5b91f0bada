"""The GPU check at toy size, on whatever is there: what it promises is in its record."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu_check.table import markdown

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_toy_check_measures_every_part_and_writes_its_table(tmp_path: Path):
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--toy", "--out", str(tmp_path)]
    parts = ["phase1", "labeling", "phase2", "pipeline"]  # the tests run here anyway
    done = subprocess.run(
        [*command, "--parts", *parts], cwd=ROOT, capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "gpu_check.json").read_text())
    assert {part: one["status"] for part, one in record["parts"].items()} == dict.fromkeys(
        parts, "passed"
    )
    numbers = {part: one["numbers"] for part, one in record["parts"].items()}
    assert numbers["phase1"]["comparison"]["worst_difference_fp32"] <= 2e-3
    assert all(mode["steps_per_s"] > 0 for mode in numbers["phase1"]["modes"].values())
    assert all(
        one["boxes_per_s"] > 0 for how in numbers["labeling"].values() for one in how.values()
    )
    assert numbers["phase2"]["solov2_r18"]["images_per_s"] > 0
    resume = numbers["pipeline"]["resume"]
    assert resume["exit_of_interrupted"] == 143
    assert 0 < resume["continued_from"] < resume["of"]
    assert "toy sizes" in (tmp_path / "gpu_check.md").read_text()


def test_a_part_that_fails_is_named_and_its_words_are_kept(tmp_path: Path):
    code = (
        "import sys; from pathlib import Path; from types import SimpleNamespace as S;"
        "from benchmarks.gpu_check.__main__ import _run_part;"
        f"o = S(limit=0.5, out=Path({str(tmp_path)!r}), toy=True);"
        "import time; print(_run_part('phase1', o, time.perf_counter())['status'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "out of time", done.stderr


def test_what_was_measured_before_the_time_was_over_is_in_the_table():
    smoke = {"seconds": 31.0, "devices": ["a card"]}
    part = {"status": "out of time", "seconds": 160.0, "numbers": {"smoke": smoke}}
    record = {
        "device": "a card", "date": "2026-11-28", "python": "3.12", "packages": {}, "toy": False,
        "parts": {"pipeline": part},
    }  # fmt: skip
    text = markdown(record)
    assert "| **pipeline** | out of time, 160 s |" in text
    assert "| mal run experiment=smoke | 31 s on a card |" in text
    assert "continued" not in text
