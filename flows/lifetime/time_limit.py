"""The end of a run that has used up its time: as a user would end it, and no process stays."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from flows.lifetime import interruption
from mal_core.errors import TimeIsUpError

TIME_IS_UP = signal.SIGUSR2
"""Prefect has uses of its own for SIGTERM and SIGALRM."""

SECONDS_BETWEEN_SIGNALS = 1.0

_armed = threading.Event()


@contextlib.contextmanager
def time_limit(minutes: float | None) -> Iterator[None]:
    """Interrupt what runs inside once it has taken that long.

    The main thread gets an exception wherever it is, so that children end as they do when a
    user interrupts: a training saves its state. Inside itself it does nothing: a flow has the
    limit of whoever started it. Only the main thread may call this.

    Raises:
        TimeIsUpError: In what runs inside.
    """
    if minutes is None or _armed.is_set():
        yield
        return
    over, heard = threading.Event(), threading.Event()
    clock = threading.Thread(target=_signal_after, args=(60 * minutes, over, heard), daemon=True)

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        if heard.is_set():
            return
        heard.set()
        message = (
            f"stopped after {minutes:g} minutes (time_limit_minutes={minutes:g}); the same "
            "command continues from the last checkpoint"
        )
        interruption.stop(TimeIsUpError(message))

    previous = signal.signal(TIME_IS_UP, interrupt)
    _armed.set()
    clock.start()
    try:
        yield
    finally:
        over.set()
        clock.join()  # after this no signal comes any more
        signal.signal(TIME_IS_UP, previous)
        interruption.forget()
        _armed.clear()


def _signal_after(seconds: float, over: threading.Event, heard: threading.Event) -> None:
    # A wait counts by the monotonic clock. A real signal also ends a blocked read; but not one that
    # begins in the moment between the signal and Python's next look for it, so one is not enough.
    main = threading.main_thread().ident
    while not over.wait(seconds) and not heard.is_set() and main is not None:
        signal.pthread_kill(main, TIME_IS_UP)
        seconds = SECONDS_BETWEEN_SIGNALS
