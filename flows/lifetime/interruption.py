"""Whether this process was asked to end; libraries may swallow the exception that says so."""

import signal
import threading
from contextvars import ContextVar
from types import FrameType
from typing import NoReturn

_reasons: list[BaseException] = []
_ended_together: ContextVar[threading.Event | None] = ContextVar("ended_together", default=None)


def listen() -> None:
    """Make SIGINT raise KeyboardInterrupt, and remember that it came."""
    forget()
    signal.signal(signal.SIGINT, _interrupt)


def end_together(ended: threading.Event) -> None:
    """Make `stop_if_asked` end what runs in this context, and in copies of it, once this is set."""
    _ended_together.set(ended)


def forget() -> None:
    """Go on as if nobody had asked to end."""
    _reasons.clear()


def stop(reason: BaseException) -> NoReturn:
    """Raise an exception that ends the run, and remember it."""
    _reasons.append(reason)
    raise reason


def stop_if_asked() -> None:
    """End here when an interrupt was swallowed on its way, or reached another thread.

    Raises:
        KeyboardInterrupt: The user pressed Ctrl-C, or what runs beside this has to end.
        TimeIsUpError: The time is up.
    """
    if _reasons:
        raise _reasons[0]
    ended = _ended_together.get()
    if ended is not None and ended.is_set():
        raise KeyboardInterrupt


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    stop(KeyboardInterrupt())
