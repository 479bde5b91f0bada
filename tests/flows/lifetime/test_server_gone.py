"""A Prefect server that is gone before the end of a run: one sentence, status 1."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.lifetime import prefect_server


class Healthy(BaseHTTPRequestHandler):
    """Answers as a server does that is asked for its health."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def answering() -> Iterator[HTTPServer]:
    found = HTTPServer(("127.0.0.1", 0), Healthy)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


def ask_after_its_end(server: HTTPServer) -> None:
    server.shutdown()
    server.server_close()
    httpx.get(f"http://127.0.0.1:{server.server_port}/api/flow_runs", timeout=5)


def test_a_server_that_is_gone_is_told_in_a_sentence(answering: HTTPServer) -> None:
    url = f"http://127.0.0.1:{answering.server_port}/api"
    with (
        temporary_settings({PREFECT_API_URL: url}),
        pytest.raises(prefect_server.ServerError) as caught,
        prefect_server.server(),
    ):
        ask_after_its_end(answering)
    assert str(caught.value) == (
        f"the Prefect server at {url} is gone: <urlopen error [Errno 111] Connection refused>. "
        "What was finished is stored: start the same command again, which continues there."
    )
    assert isinstance(caught.value.__cause__, httpx.ConnectError)


def test_what_another_server_refuses_is_its_own_error(answering: HTTPServer) -> None:
    url = f"http://127.0.0.1:{answering.server_port}/api"
    with (
        temporary_settings({PREFECT_API_URL: url}),
        pytest.raises(httpx.ConnectError),
        prefect_server.server(),
    ):
        httpx.get("http://127.0.0.1:9/api", timeout=5)
