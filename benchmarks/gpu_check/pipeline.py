"""The whole pipeline on the card: asked to end in its training, and continued to the report."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu_check import device
from benchmarks.gpu_check.sizes import Sizes
from flows.store.stage_names import TRAIN

ROOT = Path(__file__).parents[2]
MAL = [sys.executable, "-m", "flows.commands.cli"]
WAIT_S = 180


def measure(sizes: Sizes, folder: Path) -> Iterator[tuple[str, Any]]:
    """The step that the interrupted training continued from, and seconds of what followed.

    Raises:
        AssertionError: An exit status, or what a run left behind, is not as promised.
    """
    command = [
        *MAL, "run", "experiment=smoke", *sizes.train_settings,
        f"mal.max_steps={sizes.train_steps}", f"mal.checkpoint_every={sizes.train_steps // 8}",
        f"store={folder / 'store'}", f"workdir={folder / 'smoke'}",
    ]  # fmt: skip
    status = _interrupted(command, folder / "store")
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-4000:]  # noqa: S101
    found = re.search(r"from step (\d+)", text)
    assert found is not None, text  # noqa: S101
    assert int(found[1]) > 0, text  # noqa: S101
    yield (
        "resume",
        {
            "exit_of_interrupted": status,
            "continued_from": int(found[1]),
            "of": sizes.train_steps,
        },
    )
    devices = {json.loads(p.read_text())["device"] for p in folder.rglob("hardware.json")}
    assert devices == {device.name()}, f"stages computed on {devices}"  # noqa: S101
    left = sorted(path.name for path in (folder / "smoke").rglob("*.json"))
    assert "retention.json" in left, f"{folder} holds {left}"  # noqa: S101
    yield "smoke", {"seconds": time.perf_counter() - started, "devices": sorted(devices)}


def _interrupted(command: list[str], store: Path) -> int:
    """Exit status of the pipeline that is asked to end as soon as its training could go on."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        _wait_for_state(process, store)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
    assert process.returncode not in (0, None), f"ended with {process.returncode}: {said!r}"  # noqa: S101
    return process.returncode


def _wait_for_state(process: subprocess.Popen[bytes], store: Path) -> None:
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end and process.poll() is None:
        if any(store.glob(f"{TRAIN}/*.partial/state.pth")):  # others are renamed as we look
            return
        time.sleep(0.05)
    process.kill()
    said, _ = process.communicate()
    message = f"no resumable state appeared in {store}; the command said: {said.decode()}"
    raise AssertionError(message)
