"""The whole pipeline on the card: a labeler asked to end and continued, then every stage."""

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

ROOT = Path(__file__).parents[2]
MAL = [sys.executable, "-m", "flows.commands.cli"]
WAIT_S = 180


def measure(sizes: Sizes, folder: Path) -> Iterator[tuple[str, Any]]:
    """Seconds of both, and the step that the interrupted training continued from.

    Raises:
        AssertionError: An exit status, or what a run left behind, is not as promised.
    """
    yield "smoke", _smoke(folder)
    yield "resume", _interrupt_and_resume(sizes, folder)


def _interrupt_and_resume(sizes: Sizes, folder: Path) -> dict[str, Any]:
    command = [
        *MAL, "train", "experiment=smoke", f"mal.max_steps={sizes.train_steps}",
        "mal.checkpoint_every=50", *sizes.train_settings, f"store={folder / 'store'}",
        f"workdir={folder / 'resumed'}",
    ]  # fmt: skip
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        _wait_for_state(first, folder / "store")
        first.send_signal(signal.SIGTERM)
        said, _ = first.communicate(timeout=WAIT_S)
    finally:
        first.kill()
    assert first.returncode not in (0, None), f"ended with {first.returncode}: {said!r}"  # noqa: S101
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    text = again.stdout + again.stderr
    assert again.returncode == 0, text  # noqa: S101
    found = re.search(r"from step (\d+)", text)
    assert found is not None, text  # noqa: S101
    assert int(found[1]) > 0, text  # noqa: S101
    return {
        "exit_of_interrupted": first.returncode,
        "continued_from": int(found[1]),
        "of": sizes.train_steps,
    }


def _wait_for_state(process: subprocess.Popen[bytes], store: Path) -> None:
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end and process.poll() is None:
        if any(store.rglob("state.pth")):
            return
        time.sleep(0.05)
    process.kill()
    said, _ = process.communicate()
    message = f"no resumable state appeared in {store}; the command said: {said.decode()}"
    raise AssertionError(message)


def _smoke(folder: Path) -> dict[str, Any]:
    started = time.perf_counter()
    workdir = folder / "smoke"
    command = [
        *MAL, "run", "experiment=smoke", f"store={folder / 'store'}", f"workdir={workdir}",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]  # noqa: S101
    devices = {json.loads(p.read_text())["device"] for p in folder.rglob("hardware.json")}
    assert devices == {device.name()}, f"stages computed on {devices}"  # noqa: S101
    left = sorted(path.name for path in workdir.rglob("*.json"))
    assert "retention.json" in left, f"{workdir} holds {left}"  # noqa: S101
    return {"seconds": time.perf_counter() - started, "devices": sorted(devices)}
