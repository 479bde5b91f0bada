"""`mal serve`: reports in a browser, from this machine only.

`/` is the page of all runs that the store remembers; below it lie their reports, by working
folder. Nothing else on the disk can be asked for, not by a link in such a folder either, and
no page of another site can ask: a name that leads here by DNS is not ours.
"""

import functools
import os
import stat
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from mal_core.errors import ConfigError
from mal_core.report import history

HOST = "127.0.0.1"
OWN_NAMES = frozenset([HOST, "localhost", "::1"])
"""What a browser calls this machine; the port may be that of a tunnel."""
TYPES = {"report.html": "text/html", "retention.json": "application/json"}


def report_url(port: int, workdir: Path) -> str:
    """Where a run's report is while `mal serve` runs."""
    return f"http://{HOST}:{port}{quote(str(workdir / 'report.html'))}"


class ReportHandler(BaseHTTPRequestHandler):
    """Answers GET and HEAD from the working folders of one history."""

    def __init__(self, remembered: Path, *arguments: object) -> None:
        self.remembered = remembered
        super().__init__(*arguments)  # type: ignore[arg-type] # what the server hands over

    def do_GET(self) -> None:
        """The page of all runs, or a file of one of them."""
        if not self._is_asked_by_own_name():
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, f"Ask http://{HOST} or localhost.")
            return
        path = Path(unquote(urlsplit(self.path).path))
        runs = history.read_history(self.remembered)
        if str(path) == "/":
            self._answer(history.page(runs, linked=True).encode(), "text/html")
        elif path.name in TYPES and str(path.parent) in {evaluation.run for evaluation in runs}:
            self._send_file(path)
        else:
            self.send_error(HTTPStatus.NOT_FOUND, "No run that this store remembers.")

    do_HEAD = do_GET  # noqa: N815 - its name

    def _is_asked_by_own_name(self) -> bool:
        try:
            return urlsplit(f"//{self.headers.get('Host', '')}").hostname in OWN_NAMES
        except ValueError:
            return False

    def _send_file(self, path: Path) -> None:
        try:
            content = _read_own(path)
        except OSError:
            self.send_error(HTTPStatus.NOT_FOUND, "The run is remembered, its folder is gone.")
            return
        self._answer(content, TYPES[path.name])

    def _answer(self, content: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None:
        """Requests are not worth a line each."""


def _read_own(path: Path) -> bytes:
    """A regular file that is no link.

    Raises:
        OSError: It is something else, or absent.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:  # noqa: PTH123 - of a descriptor
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise FileNotFoundError(path)
        return stream.read()


def make_server(remembered: Path, port: int) -> ThreadingHTTPServer:
    """A server on the loopback interface; port 0 takes a free one.

    Raises:
        ConfigError: The port is taken.
    """
    try:
        return ThreadingHTTPServer((HOST, port), functools.partial(ReportHandler, remembered))
    except (OSError, OverflowError) as error:
        message = f"serve_port={port} cannot be used ({error}). Choose another."
        raise ConfigError(message) from error
