"""Whether the user asked this process to end; libraries may swallow the exception that says so."""

import signal
import threading
from types import FrameType

_asked = threading.Event()


def listen() -> None:
    """Make SIGINT raise KeyboardInterrupt, and remember that it came."""
    _asked.clear()
    signal.signal(signal.SIGINT, _interrupt)


def stop_if_asked() -> None:
    """End here when an interrupt was swallowed on its way.

    Raises:
        KeyboardInterrupt: The user pressed Ctrl-C.
    """
    if _asked.is_set():
        raise KeyboardInterrupt


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    _asked.set()
    raise KeyboardInterrupt
