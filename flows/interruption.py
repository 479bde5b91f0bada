"""Whether this process was asked to end; libraries may swallow the exception that says so."""

import signal
from types import FrameType
from typing import NoReturn

_reasons: list[BaseException] = []


def listen() -> None:
    """Make SIGINT raise KeyboardInterrupt, and remember that it came."""
    forget()
    signal.signal(signal.SIGINT, _interrupt)


def forget() -> None:
    """Go on as if nobody had asked to end."""
    _reasons.clear()


def stop(reason: BaseException) -> NoReturn:
    """Raise an exception that ends the run, and remember it."""
    _reasons.append(reason)
    raise reason


def stop_if_asked() -> None:
    """End here when an interrupt was swallowed on its way.

    Raises:
        KeyboardInterrupt: The user pressed Ctrl-C.
        MalCoreError: The time is up.
    """
    if _reasons:
        raise _reasons[0]


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    stop(KeyboardInterrupt())
