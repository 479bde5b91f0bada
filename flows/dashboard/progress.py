"""Long steps as progress artifacts on the dashboard, with what is left of them."""

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import cast
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException

from flows.dashboard.artifacts import artifact_key
from mal_core.processes import progress

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_UPDATES = 10.0


class ProgressArtifacts:
    """One artifact per step of this flow run, updated now and then."""

    def __init__(self) -> None:
        self._ids: dict[str, UUID] = {}
        self._updated: dict[str, float] = {}

    def show(self, title: str, done: int, total: int, line: str) -> None:
        """Report a step; an unreachable server must not end a training."""
        now = time.monotonic()
        recent = now - self._updated.get(title, -SECONDS_BETWEEN_UPDATES) < SECONDS_BETWEEN_UPDATES
        if recent and done < total:
            return
        self._updated[title] = now
        percent = 100 * done / max(total, 1)
        try:
            if title in self._ids:
                update_progress_artifact(self._ids[title], percent, description=line)
            else:
                created = create_progress_artifact(
                    percent, key=artifact_key("progress", title), description=line
                )
                self._ids[title] = cast("UUID", created)  # a coroutine only where a loop runs
        except (PrefectException, httpx.HTTPError, OSError, ValueError) as error:
            logger.debug("progress of %s is not on the dashboard: %s", title, error)


@contextlib.contextmanager
def shown_on_dashboard() -> Iterator[None]:
    """Show the steps of all children that are started meanwhile."""
    artifacts = ProgressArtifacts()
    progress.listeners.append(artifacts.show)
    try:
        yield
    finally:
        progress.listeners.remove(artifacts.show)
