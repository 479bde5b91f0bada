"""Many small reads of files by a few threads, their results in order."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

THREADS = 8
MOST_AT_ONCE = 64
"""Calls that a thread takes in one go: handing over single ones costs as much as a header."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """The result of each item, in order; several are computed at the same time."""
    size = max(1, min(MOST_AT_ONCE, len(items) // (4 * THREADS)))
    parts = [items[start : start + size] for start in range(0, len(items), size)]

    def all_of(part: Sequence[Item]) -> list[Result]:
        return [work(item) for item in part]

    with ThreadPoolExecutor(THREADS) as pool:
        for results in pool.map(all_of, parts):
            yield from results
