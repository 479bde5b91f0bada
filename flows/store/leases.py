"""One machine at work on a key: a lease in object storage that is renewed while its holder lives.

A lease is an object that is created only where there is none, and that its holder rewrites
every few seconds with a counter. Clocks of different machines disagree and jump, so no time
is written or compared: who waits judges a lease dead when its content has not changed for
several periods by the waiter's own monotonic clock, removes it and makes its own.

Two waiters may take over the same lease at the same instant, and a holder that slept may wake
to find another in its place. Then work is done twice and never damaged: results do not depend
on leases for being whole (see flows.store.shared).
"""

import contextlib
import contextvars
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator

from flows.lifetime.interruption import stop_if_asked
from flows.store.object_storage import ObjectStorage
from mal_core.errors import ArtifactError

logger = logging.getLogger(__name__)

RENEW_S = 15.0
DEAD_PERIODS = 4
"""A lease that has not changed for so many periods has no holder any more."""
POLL_S = 2.0
PATIENCE_S = 10.0


class Lease:
    """A claim of this process on one name.

    Args:
        storage: Where leases lie.
        name: Of the lease object.
        title: Of the work, for log lines.
        renew_s: Seconds between renewals; the same on all machines.
    """

    def __init__(
        self, storage: ObjectStorage, name: str, *, title: str, renew_s: float = RENEW_S
    ) -> None:
        self.storage, self.name, self.title, self.renew_s = storage, name, title, renew_s
        self._holder = uuid.uuid4().hex
        self._released = threading.Event()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Renew the lease, which `acquire` has got, until the end; then give it back."""
        run = contextvars.copy_context().run  # Prefect's: warnings belong to the flow run
        renewal = threading.Thread(target=run, args=(self._renew,), daemon=True)
        renewal.start()
        try:
            yield
        finally:
            self._released.set()
            renewal.join(PATIENCE_S)
            try:
                # A renewal that hangs in the network would bring a deleted lease back.
                if not renewal.is_alive() and self._is_mine():
                    self.storage.delete(self.name)
            except ArtifactError as error:
                logger.warning("%s: the lease stays until it is judged dead: %s", self.title, error)

    def acquire(self, ready: Callable[[], bool]) -> bool | None:
        """Wait until the lease is ours, or until there is nothing left to wait for.

        Args:
            ready: Whether what we want exists meanwhile.

        Returns:
            True when the lease was free, False when it is ours after we waited for
            another holder, None when `ready` came first and it is not ours.

        Raises:
            KeyboardInterrupt: The user pressed Ctrl-C.
        """
        waited = False
        seen, since = b"", time.monotonic()
        while True:
            stop_if_asked()
            content = self.storage.read(self.name)
            if content is None:
                if self.storage.create(self.name, self._content(0)):
                    return not waited
                continue
            if not waited:
                waited = True
                logger.info("%s: another machine is at work on it; waiting", self.title)
            if ready():
                return None
            if content != seen:
                seen, since = content, time.monotonic()
            elif time.monotonic() - since > DEAD_PERIODS * self.renew_s:
                self._remove_dead(seen)
            time.sleep(min(POLL_S, self.renew_s / 2))

    def _remove_dead(self, seen: bytes) -> None:
        logger.warning("%s: the other machine gives no sign of life; taking over", self.title)
        if self.storage.read(self.name) == seen:
            self.storage.delete(self.name)

    def _content(self, count: int) -> bytes:
        return json.dumps({"holder": self._holder, "count": count}).encode()

    def _is_mine(self) -> bool:
        return self._holder.encode() in (self.storage.read(self.name) or b"")

    def _renew(self) -> None:
        count = 0
        while not self._released.wait(self.renew_s):
            count += 1
            try:
                if not self._is_mine():
                    logger.warning("%s: another machine took over; both work now", self.title)
                    return
                self.storage.write(self.name, self._content(count))
            except ArtifactError as error:
                logger.warning("%s: the lease was not renewed: %s", self.title, error)
            except KeyboardInterrupt:  # asked for while a renewal waited for its next attempt
                return
