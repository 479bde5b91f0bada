"""Which GPUs a training gets when several run side by side."""

import logging
import os
import queue
import re
import subprocess
from collections.abc import Callable, Sequence
from typing import TypeVar

from mal_core.processes.children import children_see

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
Slot = tuple[str, ...]

VISIBLE = "CUDA_VISIBLE_DEVICES"
NO_DEVICES = ("", "-1", "none", "void")
ANSWER_S = 60.0


def visible_devices() -> Slot:
    """Names of the GPUs that this process may use, without a look through torch or CUDA."""
    chosen = os.environ.get(VISIBLE)
    if chosen is None:
        return _listed_devices()
    found: list[str] = []
    for name in (text.strip() for text in chosen.split(",")):
        if name.lower() in NO_DEVICES:  # CUDA stops at the first that is none
            break
        found.append(name)
    return tuple(found)


def _listed_devices() -> Slot:
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, check=True, timeout=ANSWER_S
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        logger.debug("no GPUs: %s", error)
        return ()
    # By identity: nvidia-smi counts GPUs in another order than CUDA does.
    return tuple(re.findall(r"^GPU \d+:.*\(UUID: (\S+)\)", listing, flags=re.MULTILINE))


def slots(jobs: int | None, num_processes: int, devices: Sequence[str]) -> list[Slot]:
    """Disjoint sets of GPUs, one for each training that may run at a time.

    Args:
        jobs: Trainings that the user wants at a time; None means as many as GPUs allow.
        num_processes: Processes of one training; each needs a GPU.
        devices: GPUs of this machine.

    Returns:
        At least one slot. Empty ones leave the choice to the training: without GPUs, or where
        one at a time has them all.
    """
    if not devices:
        return [()] * (jobs or 1)
    fit = max(1, len(devices) // num_processes)
    if jobs is not None and jobs > fit:
        logger.info(
            "segmenter_jobs=%d: %d GPUs with %d for each training allow %d at a time",
            jobs,
            len(devices),
            num_processes,
            fit,
        )
    count = min(jobs or fit, fit)
    if count == 1:
        return [()]
    starts = range(0, count * num_processes, num_processes)
    return [tuple(devices[start : start + num_processes]) for start in starts]


def spread(
    calls: Sequence[Callable[[], Result]], places: Sequence[Slot]
) -> list[Callable[[], Result]]:
    """The calls, each with a free slot while it runs; for at most as many at a time as slots."""
    free: queue.Queue[Slot] = queue.Queue()
    for slot in places:
        free.put(slot)

    def with_slot(call: Callable[[], Result]) -> Callable[[], Result]:
        def run() -> Result:
            slot = free.get()
            try:
                with children_see({VISIBLE: ",".join(slot)} if slot else {}):
                    return call()
            finally:
                free.put(slot)

        return run

    return [with_slot(call) for call in calls]
