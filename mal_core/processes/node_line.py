"""The connection between two machines of a run."""

import contextlib
import json
import queue
import socket
import threading
import time
from typing import Any

Message = dict[str, Any]

LAST_WORDS_S = 10.0
KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}
"""Seconds and tries after which a machine without power or network counts as gone."""


class Line:
    """A connection to another node: JSON messages, and whether that node is still there."""

    def __init__(self, connection: socket.socket, rank: int) -> None:
        self.rank = rank
        self.inbox: queue.Queue[Message | None] = queue.Queue()
        self.gone = threading.Event()
        self._connection = connection
        connection.settimeout(None)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError), self._connection.makefile("r") as lines:
            for line in lines:
                self.inbox.put(json.loads(line))
        with contextlib.suppress(OSError):  # the other side waits for our end of it
            self._connection.shutdown(socket.SHUT_WR)
        self.gone.set()
        self.inbox.put(None)

    def send(self, **message: Any) -> None:
        """Send a message; a node that is gone does not get it, and `gone` tells."""
        with contextlib.suppress(OSError):
            self._connection.sendall((json.dumps(message) + "\n").encode())

    def receive(self, seconds: float) -> Message | None:
        """The next message; None when none came in time, or the node is gone."""
        with contextlib.suppress(queue.Empty):
            return self.inbox.get(timeout=max(0.0, seconds))
        return None

    def has_failed(self, number: int) -> bool:
        """Whether the node is gone, or has reported that its part of a training failed."""
        with self.inbox.mutex:  # looked at, not taken: `receive` is for who waits for the end
            waiting = [message for message in self.inbox.queue if message is not None]
        failed = any(
            message.get("number") == number and message.get("failed") for message in waiting
        )
        return self.gone.is_set() or failed

    def close(self, deadline: float | None = None) -> None:
        """End the connection, after what was sent has arrived.

        Args:
            deadline: How long to wait for that, by the monotonic clock; default 10 s from now.
        """
        if deadline is None:
            deadline = time.monotonic() + LAST_WORDS_S
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
        # The other side has read everything when it ends its direction too.
        self.gone.wait(max(0.0, deadline - time.monotonic()))
        self._connection.close()
