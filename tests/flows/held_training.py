"""A training that waits: it takes no processor, and no test can come too late to disturb it."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path

STARTED_BY_A_FLOW = ("torch.distributed.run", "mal_core.jobs.worker")


def training_process(root: Path) -> int | None:
    """What a flow with its store in this folder started: the training, or torchrun before it."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode().split("\0")
        except (OSError, UnicodeDecodeError):
            continue
        if any(str(root) in word for word in command):
            found |= {one: int(folder.name) for one in STARTED_BY_A_FLOW if command[2:3] == [one]}
    return next((found[one] for one in STARTED_BY_A_FLOW if one in found), None)


def hold_training(root: Path) -> list[int]:
    """Stop the training with all its ranks; returns their ids, none where nothing trains."""
    found = training_process(root)
    processes = [] if found is None else family(found)
    signal_all(processes, signal.SIGSTOP)
    return processes


def signal_all(processes: Iterable[int], number: signal.Signals) -> None:
    """Signal those of the processes that still run."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def any_asked_to_end(processes: Iterable[int]) -> bool:
    """Whether one of these stopped processes has a SIGTERM waiting for it, or is gone."""
    return any(map(_is_asked_to_end, processes))


def _is_asked_to_end(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    waiting = [int(line.split()[1], 16) for line in status.splitlines() if "Pnd:" in line]
    return any(mask & 1 << (signal.SIGTERM - 1) for mask in waiting)


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    done = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [pid, *(one for child in done.stdout.split() for one in family(int(child)))]
