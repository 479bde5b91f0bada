"""Progress of long steps: bars with ETA at a terminal, plain lines in a log.

A child process cannot draw on its parent's terminal, so with MAL_PROGRESS=events
it prints one machine-readable line per report; `process.run_child` hands each to
`ProgressView`, which draws the bar or logs the line on the parent's side.
"""

import contextlib
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

logger = logging.getLogger(__name__)

EVENT_PREFIX = "@progress "
EVENT_KEYS = {"title", "done", "total", "initial", "values"}
EVENTS_VARIABLE = "MAL_PROGRESS"
MIN_SECONDS_BETWEEN_EVENTS = 0.5
SECONDS_BETWEEN_LINES = 10.0

Listener = Callable[[str, int, int, str], None]
listeners: list[Listener] = []
"""Told of every report of a child: title, units done, units in all, and the line with the ETA."""


def format_duration(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    total = round(seconds)
    hours, minutes = total // 3600, total % 3600 // 60
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{head}:{total % 60:02d}"


class ProgressView:
    """Shows the progress of one named step; at most one view per name.

    Args:
        title: What is going on, for example "train MAL".
        total: Number of units at the end.
        initial: Units done before this process started (resume).
    """

    def __init__(self, title: str, total: int, initial: int = 0) -> None:
        self.title = title
        self.total = total
        self.initial = initial
        self.started = time.monotonic()
        self._last_line = 0.0
        self._bar: tqdm[None] | None = None
        if sys.stderr.isatty():
            # A terminal that does not tell its size (0 x 0) would get no bar.
            columns, lines = shutil.get_terminal_size()
            self._bar = tqdm(
                total=total, initial=initial, desc=title, smoothing=0.1, ncols=columns, nrows=lines
            )

    def update(self, done: int, values: Mapping[str, float] | None = None) -> None:
        """Show that `done` of `total` units are finished, with named current values."""
        values = values or {}
        if self._bar is not None:
            self._bar.set_postfix({k: f"{v:.4g}" for k, v in values.items()}, refresh=False)
            self._bar.n = done
            self._bar.refresh()
            return
        now = time.monotonic()
        if now - self._last_line >= SECONDS_BETWEEN_LINES or done >= self.total:
            self._last_line = now
            logger.info("%s", self.line(done, values))

    def line(self, done: int, values: Mapping[str, float]) -> str:
        """How far it is, when it may end, and the current values."""
        elapsed = time.monotonic() - self.started
        shown = " ".join(f"{name} {value:.4g}" for name, value in values.items())
        fresh = done - self.initial
        eta = format_duration(elapsed / fresh * (self.total - done)) if fresh > 0 else "?"
        percent = 100 * done // max(self.total, 1)
        return f"{self.title}: {done}/{self.total} ({percent} %), ETA {eta} {shown}".rstrip()

    def close(self) -> None:
        """Finish the bar, if one is drawn."""
        if self._bar is not None:
            self._bar.close()


class Progress:
    """Reports progress of the work in this process; a context manager."""

    def __init__(self, title: str, total: int, initial: int = 0) -> None:
        self.title = title
        self.total = total
        self.initial = initial
        self._events = os.environ.get(EVENTS_VARIABLE) == "events"
        self._view = None if self._events else ProgressView(title, total, initial)
        self._last_event = 0.0

    def __enter__(self) -> Self:
        self._emit(self.initial, {}, force=True)
        return self

    def update(self, done: int, **values: float) -> None:
        """Report that `done` units are finished, with named current values."""
        if self._view is not None:
            self._view.update(done, values)
        else:
            self._emit(done, values, force=done >= self.total)

    def _emit(self, done: int, values: Mapping[str, float], *, force: bool) -> None:
        now = time.monotonic()
        if not self._events or not (force or now - self._last_event > MIN_SECONDS_BETWEEN_EVENTS):
            return
        self._last_event = now
        event = {
            "title": self.title,
            "done": done,
            "total": self.total,
            "initial": self.initial,
            "values": dict(values),
        }
        # A parent that was killed no longer reads; the work must live long enough to be saved.
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.write(f"{EVENT_PREFIX}{json.dumps(event)}\n")
            sys.stdout.flush()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._view is not None:
            self._view.close()


def _parse_event(line: str) -> dict[str, Any] | None:
    if not line.startswith(EVENT_PREFIX):
        return None
    try:
        event = json.loads(line.removeprefix(EVENT_PREFIX))
    except json.JSONDecodeError:  # two processes wrote at the same moment
        return None
    complete = isinstance(event, dict) and event.keys() >= EVENT_KEYS
    return event if complete else None


class ProgressRelay:
    """Parent side: turns a child's progress lines into views, leaves other lines alone."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self._views: dict[str, ProgressView] = {}

    def handle(self, line: str) -> bool:
        """Show `line` when it is a progress event; returns whether it was one."""
        event = _parse_event(line)
        if event is None:
            return False
        self.show(event)
        return True

    def show(self, event: Mapping[str, Any]) -> None:
        """Show one report, with the keys EVENT_KEYS, and tell the listeners of it."""
        title = f"{self.prefix}{event['title']}"
        view = self._views.get(title)
        if view is None or event["done"] == event["initial"]:  # a new round of that name
            if view is not None:
                view.close()
            view = self._views[title] = ProgressView(title, event["total"], event["initial"])
        view.update(event["done"], event["values"])
        for listener in listeners:
            listener(title, event["done"], view.total, view.line(event["done"], event["values"]))

    def close(self) -> None:
        """Finish all bars."""
        for view in self._views.values():
            view.close()
