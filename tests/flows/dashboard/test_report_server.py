"""Reports in a browser: what the store remembers, and nothing else of the disk."""

import http.client
import os
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from flows.dashboard.report_server import make_server, report_url
from mal_core.errors import ConfigError
from mal_core.evaluation.retention import Accounting, RetentionReport, SegmenterResult
from mal_core.report import history
from mal_core.types import MaskMetrics


@pytest.fixture
def served(tmp_path):
    """A server that remembers one run, in a folder with a blank in its name."""
    workdir = tmp_path / "runs" / "my run"
    workdir.mkdir(parents=True)
    (workdir / "report.html").write_text("<p>the report</p>")
    (workdir / "secret.txt").write_text("secret")
    (tmp_path / "report.html").write_text("not of a run")
    rest = dict.fromkeys(("ap50", "ap75", "ap_small", "ap_medium", "ap_large"))
    result = SegmenterResult(name="solo", human=None, pseudo=MaskMetrics(ap=0.25, **rest))
    counts = Accounting(boxes=1, masks=1, crowds=0, skipped={})
    report = RetentionReport(segmenters=(result,), quality=None, accounting=counts, context={})
    path = tmp_path / "history.jsonl"
    history.record(path, report, run=str(workdir), data="d")
    server = make_server(path, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1], workdir
    server.shutdown()
    server.server_close()


def get(url: str, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def test_the_first_page_leads_to_the_report_of_each_run(served):
    port, workdir = served
    status, page = get(f"http://127.0.0.1:{port}/")
    assert status == 200
    link = report_url(port, workdir)
    assert link.endswith("/my%20run/report.html")
    assert link.removeprefix(f"http://127.0.0.1:{port}") in page
    assert get(link) == (200, "<p>the report</p>")
    assert get(link, "HEAD") == (200, "")


@pytest.mark.parametrize(
    "path",
    [
        "{workdir}/secret.txt",
        "{workdir}/../../report.html",
        "{root}/report.html",
        "/etc/passwd",
        "{workdir}/retention.json",
    ],
)
def test_nothing_else_can_be_asked_for(path, served):
    port, workdir = served
    asked = path.format(workdir=workdir, root=workdir.parents[1]).replace(" ", "%20")
    assert get(f"http://127.0.0.1:{port}{asked}")[0] == 404


HOSTS = {
    "127.0.0.1": 200,
    "127.0.0.1:9000": 200,  # through a tunnel
    "localhost:4280": 200,
    "LOCALHOST": 200,
    "[::1]:4280": 200,
    "evil.example": 421,
    "127.0.0.1.evil.example:4280": 421,
    "localhost@evil.example": 421,
    "0.0.0.0:4280": 421,
    "[::1": 421,
    "": 421,
}


@pytest.mark.parametrize("host", HOSTS)
def test_only_this_machines_own_names_are_answered(host, served):
    port, workdir = served
    for path in ("/", report_url(port, workdir).partition(str(port))[2]):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        assert answer.status == HOSTS[host]
        assert answer.status == 200 or (
            answer.reason == "Ask http://127.0.0.1 or localhost." and "the report" not in body
        )


def link(path: Path, secret: Path) -> None:
    path.symlink_to(secret)


def pipe(path: Path, _secret: Path) -> None:
    os.mkfifo(path)


def folder(path: Path, _secret: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [link, pipe, folder])
@pytest.mark.parametrize("name", ["report.html", "retention.json"])
def test_what_is_no_file_of_the_run_is_not_served(make, name, served):
    port, workdir = served
    (workdir / name).unlink(missing_ok=True)
    make(workdir / name, workdir / "secret.txt")
    asked = report_url(port, workdir).replace("report.html", name)
    assert get(asked) == (404, "")


def test_a_working_folder_that_is_a_link_itself_is_the_users_own(served, tmp_path):
    port, workdir = served
    workdir.rename(tmp_path / "elsewhere")
    workdir.symlink_to(tmp_path / "elsewhere")
    assert get(report_url(port, workdir)) == (200, "<p>the report</p>")


def test_a_taken_port_is_named(served, tmp_path):
    with pytest.raises(ConfigError, match="serve_port"):
        make_server(Path(tmp_path / "history.jsonl"), served[0])


def test_without_any_run_the_page_says_how_to_get_one(tmp_path):
    assert "None yet" in history.page(())
