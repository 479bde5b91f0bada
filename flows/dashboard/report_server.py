"""`mal serve`: reports and reviews in a browser, from this machine only.

`/` is the page of all runs and reviews that the store remembers; below it lie their pages, by
folder. Nothing else on the disk can be asked for, not by a link in such a folder either, and
no page of another site can ask: a name that leads here by DNS is not ours. The one thing that
can be written is decisions.json of a review, by its own page: what is no file of decisions, or
comes from another origin, is refused.
"""

import functools
import json
import os
import stat
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from flows.dashboard import reviews
from flows.dashboard.reviews import HOST
from mal_core.errors import ConfigError, DatasetError
from mal_core.report import history
from mal_core.review.decisions import DECISIONS, save_decisions

OWN_NAMES = frozenset([HOST, "localhost", "::1"])
"""What a browser calls this machine; the port may be that of a tunnel."""
TYPES = {"report.html": "text/html", "retention.json": "application/json"}
REVIEW_TYPES = {reviews.PAGE: "text/html", DECISIONS: "application/json"}
MOST_BYTES = 32 << 20
"""Of decisions: a hundred thousand of them take a fifth of it."""


def report_url(port: int, workdir: Path) -> str:
    """Where a run's report is while `mal serve` runs."""
    return f"http://{HOST}:{port}{quote(str(workdir / 'report.html'))}"


class ReportHandler(BaseHTTPRequestHandler):
    """Answers GET and HEAD from the folders of one history, and takes decisions of reviews."""

    def __init__(self, remembered: Path, reviewed: Path, *arguments: object) -> None:
        self.remembered, self.reviewed = remembered, reviewed
        super().__init__(*arguments)  # type: ignore[arg-type] # what the server hands over

    def do_GET(self) -> None:
        """The page of all runs, or a file of one of them or of a review."""
        if not self._is_asked_by_own_name():
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, f"Ask http://{HOST} or localhost.")
            return
        path = self._asked()
        runs = history.read_history(self.remembered)
        folders = reviews.remembered(self.reviewed)
        if str(path) == "/":
            shown = [folder for folder in folders if (Path(folder) / reviews.PAGE).is_file()]
            self._answer(history.page(runs, linked=True, reviews=shown).encode(), "text/html")
        elif path.name in TYPES and str(path.parent) in {evaluation.run for evaluation in runs}:
            self._send_file(path, TYPES[path.name])
        elif path.name in REVIEW_TYPES and str(path.parent) in folders:
            self._send_file(path, REVIEW_TYPES[path.name])
        else:
            self.send_error(HTTPStatus.NOT_FOUND, "No run that this store remembers.")

    do_HEAD = do_GET  # noqa: N815 - its name

    def do_POST(self) -> None:
        """Keep the decisions of a review beside its page."""
        body, path = self._body(), self._asked()
        if not self._is_asked_by_own_name():
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, f"Ask http://{HOST} or localhost.")
        elif not self._is_asked_by_own_page():
            self.send_error(HTTPStatus.FORBIDDEN, "Only the page of a review may send decisions.")
        elif path.name != DECISIONS or not self._is_review(path.parent):
            self.send_error(HTTPStatus.NOT_FOUND, "No review that this store remembers.")
        elif body is None:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "No body, or too large a one.")
        else:
            self._save(body, path.parent)

    def _asked(self) -> Path:
        return Path(unquote(urlsplit(self.path).path))

    def _body(self) -> bytes | None:
        """What was sent; read in any case, since a refusal is lost on a connection with more."""
        text = self.headers.get("Content-Length", "")
        if not (text.isascii() and text.isdigit()) or not 0 < int(text[:20]) <= MOST_BYTES:
            return None
        return self.rfile.read(int(text))

    def _is_asked_by_own_page(self) -> bool:
        """Browsers say where a page that sends something comes from, and ask before JSON."""
        own = f"http://{self.headers.get('Host', '')}"
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return self.headers.get("Origin") == own and kind == "application/json"

    def _is_review(self, folder: Path) -> bool:
        known = str(folder) in reviews.remembered(self.reviewed)
        return known and (folder / reviews.PAGE).is_file()

    def _save(self, body: bytes, folder: Path) -> None:
        try:
            save_decisions(json.loads(body), folder)
        except (ValueError, RecursionError, DatasetError):
            self.send_error(HTTPStatus.BAD_REQUEST, "These are no decisions of a review.")
        except OSError:
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, "The folder cannot be written to.")
        else:
            self._answer(b"{}", "application/json")

    def _is_asked_by_own_name(self) -> bool:
        try:
            return urlsplit(f"//{self.headers.get('Host', '')}").hostname in OWN_NAMES
        except ValueError:
            return False

    def _send_file(self, path: Path, kind: str) -> None:
        try:
            content = _read_own(path)
        except OSError:
            self.send_error(HTTPStatus.NOT_FOUND, "The run is remembered, its folder is gone.")
            return
        self._answer(content, kind)

    def _answer(self, content: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
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


def make_server(
    remembered: Path, port: int, *, reviewed: Path | None = None
) -> ThreadingHTTPServer:
    """A server on the loopback interface; port 0 takes a free one.

    Args:
        remembered: The history of evaluations.
        port: To listen on.
        reviewed: The list of reviews; None: reviews.jsonl beside the history.

    Raises:
        ConfigError: The port is taken.
    """
    try:
        beside = remembered.with_name("reviews.jsonl")
        handler = functools.partial(ReportHandler, remembered, reviewed or beside)
        return ThreadingHTTPServer((HOST, port), handler)
    except (OSError, OverflowError) as error:
        message = f"serve_port={port} cannot be used ({error}). Choose another."
        raise ConfigError(message) from error
