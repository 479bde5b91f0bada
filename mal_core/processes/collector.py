"""A process that starts and ends without looking for garbage among what it has imported.

Torch, timm and mmdet leave a million objects that stay for good. While they are imported, and once
more at the end, Python's collector goes through all of them for reference cycles: over a third of
the CPU seconds that a process takes to start and end (docs/performance.md).
"""

import atexit
import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected_imports() -> Iterator[None]:
    """Import large libraries inside; what exists at the end is never looked through again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def end_uncollected() -> None:
    """Let this process end without a search for cycles: its memory goes back as a whole.

    Files and children are in no need of it: whoever opens them here closes them.
    """
    atexit.register(gc.freeze)
