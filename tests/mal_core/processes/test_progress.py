"""Progress: lines in a log, events between processes, bars at a terminal."""

import contextlib
import json
import logging
import os
import pty
import subprocess
import sys

import pytest

from mal_core.processes.progress import (
    EVENT_PREFIX,
    EVENTS_VARIABLE,
    Progress,
    ProgressRelay,
    format_duration,
)

THREE_STEPS = """
import logging
from mal_core.processes.progress import Progress
logging.basicConfig(level=logging.INFO, format="%(message)s")
with Progress("work", 3) as progress:
    for done in range(1, 4):
        progress.update(done, loss=0.5)
"""


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0:00"),
        (59.4, "0:59"),
        (59.6, "1:00"),
        (3599, "59:59"),
        (3600, "1:00:00"),
        (7265, "2:01:05"),
    ],
)
def test_durations_read_like_a_clock(seconds: float, shown: str) -> None:
    assert format_duration(seconds) == shown


def test_a_log_gets_plain_lines_with_eta_and_values(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), Progress("work", 10) as progress:
        progress.update(5, loss=0.25)
        progress.update(6, loss=0.24)  # too soon after the line before
        progress.update(10, loss=0.125)
    assert [r.getMessage() for r in caplog.records] == [
        "work: 5/10 (50 %), ETA 0:00 loss 0.25",
        "work: 10/10 (100 %), ETA 0:00 loss 0.125",
    ]


def test_a_resumed_step_does_not_count_old_work_as_speed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("mal_core.processes.progress.time.monotonic", lambda: now[0])
    with caplog.at_level(logging.INFO), Progress("work", 100, initial=80) as progress:
        now[0] += 60
        progress.update(90)
    assert "90/100 (90 %), ETA 1:00" in caplog.text


def test_nothing_to_do_divides_by_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), Progress("work", 0) as progress:
        progress.update(0)
    assert "work: 0/0" in caplog.text


def test_a_child_prints_events_that_the_parent_shows_as_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    environment = {**os.environ, EVENTS_VARIABLE: "events"}
    child = subprocess.run(
        [sys.executable, "-c", THREE_STEPS],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = child.stdout.splitlines()
    events = [json.loads(line.removeprefix(EVENT_PREFIX)) for line in lines]
    assert (events[0]["done"], events[-1]["done"]) == (0, 3)
    relay = ProgressRelay("child: ")
    with caplog.at_level(logging.INFO):
        assert all(relay.handle(line) for line in lines)
    relay.close()
    assert "child: work: 3/3 (100 %), ETA 0:00 loss 0.5" in caplog.text
    assert child.stderr == ""


@pytest.mark.parametrize(
    "line", ["plain text", "", "@progress {cut", "@progress [1]", '@progress {"title": "x"}']
)
def test_a_line_that_is_no_event_is_left_to_the_log(line: str) -> None:
    assert ProgressRelay().handle(line) is False


def test_a_second_round_of_one_name_starts_anew(caplog: pytest.LogCaptureFixture) -> None:
    def event(done: int, total: int) -> str:
        values: dict[str, float] = {}
        record = {"title": "val", "done": done, "total": total, "initial": 0, "values": values}
        return EVENT_PREFIX + json.dumps(record)

    relay = ProgressRelay()
    with caplog.at_level(logging.INFO):
        for line in (event(0, 5), event(5, 5), event(0, 9), event(9, 9)):
            relay.handle(line)
    relay.close()
    assert "val: 5/5" in caplog.text
    assert "val: 9/9" in caplog.text


def read_all(leader: int) -> str:
    parts = []
    with contextlib.suppress(OSError):  # EIO: the other side is closed and nothing is left
        while part := os.read(leader, 65536):
            parts.append(part)
    os.close(leader)
    return b"".join(parts).decode()


def test_a_terminal_gets_a_bar_with_eta() -> None:
    leader, follower = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k != EVENTS_VARIABLE}
    subprocess.run(
        [sys.executable, "-c", THREE_STEPS],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=follower,
        check=True,
    )
    os.close(follower)
    shown = read_all(leader)
    assert "work: 100%" in shown
    assert "3/3" in shown
    assert "loss=0.5" in shown


def test_a_parent_that_no_longer_reads_does_not_stop_the_work():
    code = (
        "import sys, time\n"
        "from mal_core.processes.progress import Progress\n"
        "with Progress('work', 3) as progress:\n"
        "    sys.stdin.readline()\n"
        "    for done in (1, 2, 3):\n"
        "        progress.update(done, loss=1.0)\n"
        "    time.sleep(0.01)\n"
        "    print('saved', file=sys.stderr)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MAL_PROGRESS": "events"},
    )
    child.stdout.readline()
    child.stdout.close()
    child.stdin.write("go\n")
    child.stdin.close()
    with child.stderr:
        assert "saved" in child.stderr.read()
    child.wait()
