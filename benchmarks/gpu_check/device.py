"""Timing and the card's own ceilings: what its fastest product and its copies reach."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from statistics import mean, median

import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ON_GPU = DEVICE.type == "cuda"
COPY_FLOATS = 1 << 28


def synchronize() -> None:
    """Wait for the card."""
    if ON_GPU:
        torch.cuda.synchronize()


def seconds(work: Callable[[], object], repeats: int = 10, warm_up: int = 3) -> float:
    """Median wall time of one call, the card idle before and after."""
    for _ in range(warm_up):
        work()
    times = []
    for _ in range(repeats):
        synchronize()
        started = time.perf_counter()
        work()
        synchronize()
        times.append(time.perf_counter() - started)
    return median(times)


def matmul_rate(side: int) -> float:
    """FLOP/s of a bfloat16 product of two random side x side matrices."""
    a, b = torch.randn(2, side, side, device=DEVICE, dtype=torch.bfloat16)
    return 2 * side**3 / seconds(lambda: a @ b)


def copy_rate() -> float:
    """Bytes/s of a copy on the device, read and written bytes both counted."""
    source = torch.randn(COPY_FLOATS if ON_GPU else 1 << 20, device=DEVICE)
    target = torch.empty_like(source)
    return 2 * source.numel() * 4 / seconds(lambda: target.copy_(source))


def name() -> str:
    """The card's name, or CPU."""
    return torch.cuda.get_device_name() if ON_GPU else "CPU"


@contextlib.contextmanager
def watched_utilization() -> Iterator[list[float]]:
    """A list that holds at the end the card's mean utilization in [0, 1], as its driver says."""
    samples: list[float] = []
    result: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            samples.append(torch.cuda.utilization() / 100)

    watcher = threading.Thread(target=watch, daemon=True)
    if ON_GPU:
        watcher.start()
    try:
        yield result
    finally:
        done.set()
        if ON_GPU:
            watcher.join()
            result.append(mean(samples) if samples else 0.0)
