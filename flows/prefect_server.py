"""The Prefect server this process would talk to: a running one, or a temporary one of its own."""

import urllib.error
import urllib.request

from prefect.settings import PREFECT_API_URL

from mal_core.errors import MalCoreError

PATIENCE_S = 10.0


class ServerError(MalCoreError):
    """The Prefect server that the settings name does not answer."""


def require_reachable() -> None:
    """Refuse a configured server that does not answer; without one a temporary server starts.

    Raises:
        ServerError: PREFECT_API_URL names a server that is out of reach.
    """
    url = PREFECT_API_URL.value()
    if not url:
        return
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=PATIENCE_S):
            return
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        message = (
            f"PREFECT_API_URL={url} does not answer: {error}. Start that server with "
            "`prefect server start`, or unset PREFECT_API_URL (and `prefect config unset "
            "PREFECT_API_URL`) to run with a temporary one."
        )
        raise ServerError(message) from error
