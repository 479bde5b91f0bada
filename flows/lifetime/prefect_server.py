"""The Prefect server of a run: a running one, or a temporary one that ends with this process."""

import atexit
import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
from prefect.context import refresh_global_settings_context
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, PREFECT_HOME

from mal_core.errors import MalCoreError
from mal_core.processes.children import die_with_parent
from mal_core.processes.nodes import free_port

ANSWER_S = 10.0
START_S = 180.0
STOP_S = 10.0
SERVER_VARIABLES = {
    "PREFECT_UI_ENABLED": "0",
    # The terminal is spared Prefect's own lines; the reason why a server dies must be in its log.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR",
    # Nobody makes blocks here. To learn whether their types are registered, Prefect imports every
    # collection that is installed (Kubernetes, Dask, Ray): 2 of 5 s, unless neither is asked.
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "0",
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "0",
}


class ServerError(MalCoreError):
    """A Prefect server does not answer or does not start."""


@contextlib.contextmanager
def server(meanwhile: Callable[[], object] | None = None) -> Iterator[None]:
    """Use the server that the settings name; without one, start one for this long.

    Prefect would start one itself, but that one survives when this process is killed.

    Args:
        meanwhile: Called while the server starts, which takes seconds: imports, for example.

    Raises:
        ServerError: The named server is out of reach, or the temporary one does not start; or it
            is gone before the end.
    """
    url = PREFECT_API_URL.value()
    if url:
        _require_reachable(url)
        with _in_a_sentence():
            yield
        return
    os.environ["PREFECT_API_URL"] = _temporary_server(meanwhile)
    refresh_global_settings_context()
    try:
        with _in_a_sentence():
            yield
    finally:
        APILogWorker.drain_all(timeout=STOP_S)


@contextlib.contextmanager
def _in_a_sentence() -> Iterator[None]:
    """Say of a server that is gone for good that it is, where Prefect shows where it asked it."""
    try:
        yield
    except httpx.TransportError as error:
        url = str(PREFECT_API_URL.value())
        problem = _problem_with(url, ANSWER_S)
        if problem is None:  # it was another one, or is back
            raise
        message = (
            f"the Prefect server at {url} is gone: {problem}. What was finished is stored: start "
            "the same command again, which continues there."
        )
        raise ServerError(message) from error


def _require_reachable(url: str) -> None:
    problem = _problem_with(url, ANSWER_S)
    if problem is not None:
        message = (
            f"PREFECT_API_URL={url} does not answer: {problem}. Start that server with "
            "`prefect server start`, or unset PREFECT_API_URL (and `prefect config unset "
            "PREFECT_API_URL`) to run with a temporary one."
        )
        raise ServerError(message)


def _problem_with(url: str, seconds: float) -> str | None:
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=seconds):
            return None
    except (urllib.error.URLError, OSError, ValueError) as error:
        return str(error)


def _temporary_server(meanwhile: Callable[[], object] | None) -> str:
    port = free_port()
    log = PREFECT_HOME.value() / "temporary-server.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        output = log.open("wb")
    except OSError as error:
        message = f"PREFECT_HOME={log.parent} cannot be written ({error}). Choose another folder."
        raise ServerError(message) from error
    with output:
        process = subprocess.Popen(
            _command(port),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **SERVER_VARIABLES},
            start_new_session=True,
            preexec_fn=partial(die_with_parent, os.getpid()),
        )
    # Prefect's threads still talk to it after the flow: it ends last, not with the flow.
    atexit.register(_stop, process)
    url = f"http://127.0.0.1:{port}/api"
    if meanwhile is not None:
        meanwhile()
    _wait_until_up(process, url, log)
    return url


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _command(port: int) -> list[str]:
    folder = str(Path(__file__).parents[2])
    factory = ["--factory", "flows.lifetime.server_app:create_app"]
    place = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    return [sys.executable, "-m", "uvicorn", "--app-dir", folder, *factory, *place]


def _wait_until_up(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while _problem_with(url, 1.0) is not None:
        if process.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
            message = f"the temporary Prefect server did not start; its whole log: {log}\n{tail}"
            raise ServerError(message)
        time.sleep(0.2)
