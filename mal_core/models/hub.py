"""The hub of weights: asked where it answers, else only its cache here, at once.

Its client tries again for a minute to reach a server that no line leads to.
"""

import contextlib
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator

from huggingface_hub import constants

PATIENCE_S = 4.0
"""Seconds for a connection; a hub that takes longer is out of reach."""


@contextlib.contextmanager
def hub_or_cache() -> Iterator[None]:
    """Within it the hub's client reads its cache only, if the hub does not answer."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _answers(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def out_of_reach(repository: str) -> str:
    """Why there are no weights of a repository, in words."""
    why = (
        "HF_HUB_OFFLINE is set"
        if constants.HF_HUB_OFFLINE
        else f"{constants.ENDPOINT} is out of reach"
    )
    return f"{why}, and the hub's cache here lacks {repository}"


def _answers(endpoint: str) -> bool:
    """Whether something listens where the endpoint, or the proxy on the way to it, is."""
    asked = urllib.parse.urlsplit(endpoint)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(asked.scheme) or proxies.get("all")
    if proxy and not urllib.request.proxy_bypass(asked.hostname or ""):
        asked = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    port = asked.port or {"http": 80, "socks5": 1080}.get(asked.scheme, 443)
    try:
        with socket.create_connection((asked.hostname or "", port), timeout=PATIENCE_S):
            return True
    except OSError:
        return False
