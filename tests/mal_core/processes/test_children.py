"""Child processes: their output streams, their failure is told, none outlives its parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mal_core.errors import SegmenterError, WorkerError
from mal_core.processes.children import child_environment, end_children, run_child

PATIENCE = 20.0
# Starts a child through run_child; the child starts a grandchild; both ids are written down.
PARENT = """
import signal, sys
from pathlib import Path
from mal_core.processes.children import run_child
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # who starts the tests by nohup ignores it
child = (
    "import os, subprocess, sys, time;"
    "g = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)']);"
    f"open({sys.argv[1]!r} + '/pids', 'w').write(f'{{os.getpid()}} {{g.pid}} end');"
    "time.sleep(300)"
)
run_child([sys.executable, "-c", child], what="sleep", log_path=Path(sys.argv[1]) / "log")
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited {PATIENCE} s for {what}"
        time.sleep(0.05)


def read_pids(folder: Path) -> list[int]:
    path = folder / "pids"
    wait_until(lambda: path.exists() and path.read_text().endswith("end"), "the child to start")
    return [int(pid) for pid in path.read_text().split()[:2]]


def test_output_streams_line_by_line_while_the_child_runs(tmp_path: Path) -> None:
    code = (
        "import sys; print('first'); print(sys.stdin.read() == ''); print('err', file=sys.stderr)"
    )
    seen: list[tuple[str, str]] = []
    log = tmp_path / "deep" / "log"

    def on_line(line: str) -> None:
        seen.append((line, log.read_text().splitlines()[-1]))

    run_child(python(code), what="talk", log_path=log, on_line=on_line)
    assert seen == [("first", "first"), ("True", "True"), ("err", "err")]


def test_a_line_arrives_before_the_child_ends(tmp_path: Path) -> None:
    go = str(tmp_path / "go")
    code = f"print('now'); import os, time\nwhile not os.path.exists({go!r}): time.sleep(.01)"
    run_child(
        python(code),
        what="wait",
        log_path=tmp_path / "log",
        on_line=lambda _: (tmp_path / "go").touch(),
    )
    assert (tmp_path / "log").read_text() == "now\n"


def test_progress_events_are_shown_and_not_logged_as_lines(tmp_path: Path) -> None:
    code = (
        "from mal_core.processes.progress import Progress\n"
        "with Progress('w', 2) as p: p.update(2)\n"
        "print('x')"
    )
    seen: list[str] = []
    run_child(python(code), what="work", log_path=tmp_path / "log", on_line=seen.append)
    assert seen == ["x"]
    assert (tmp_path / "log").read_text() == "x\n"


def test_undecodable_output_does_not_end_the_run(tmp_path: Path) -> None:
    code = r"import sys; sys.stdout.buffer.write(b'\xff\xfe\n')"
    run_child(python(code), what="noise", log_path=tmp_path / "log")
    assert "\ufffd" in (tmp_path / "log").read_text()


def test_a_failing_child_is_reported_with_status_log_and_last_lines(tmp_path: Path) -> None:
    code = "for i in range(50): print(i)\nraise SystemExit(3)"
    with pytest.raises(WorkerError) as caught:
        run_child(python(code), what="train", log_path=tmp_path / "log")
    error = caught.value
    assert error.return_code == 3
    assert error.last_lines == tuple(str(i) for i in range(30, 50))
    assert str(tmp_path / "log") in str(error)
    assert len((tmp_path / "log").read_text().splitlines()) == 50


def test_the_caller_chooses_the_kind_of_error_and_a_signal_shows_as_negative(
    tmp_path: Path,
) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(SegmenterError) as caught:
        run_child(python(code), what="train", log_path=tmp_path / "log", error_type=SegmenterError)
    assert caught.value.return_code == -signal.SIGKILL
    assert "memory is used up" in str(caught.value)


def test_a_crashed_child_whose_workers_hold_the_pipe_does_not_hang_us(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys\n"
        "g = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
        "print(g.pid)\nraise SystemExit(1)"
    )
    seen: list[str] = []
    started = time.monotonic()
    with pytest.raises(WorkerError):
        run_child(python(code), what="t", log_path=tmp_path / "log", on_line=seen.append)
    assert time.monotonic() - started < PATIENCE
    wait_until(lambda: not is_alive(int(seen[0])), "the kernel to end the grandchild")


def test_an_error_of_the_caller_ends_the_child(tmp_path: Path) -> None:
    seen: list[int] = []

    def fail(line: str) -> None:
        seen.append(int(line))
        raise KeyboardInterrupt

    code = "import os, time; print(os.getpid()); time.sleep(300)"
    with pytest.raises(KeyboardInterrupt):
        run_child(python(code), what="t", log_path=tmp_path / "log", on_line=fail)
    assert not is_alive(seen[0])


def test_ending_all_children_makes_their_call_fail(tmp_path: Path) -> None:
    code = "import time; print('up'); time.sleep(300)"
    with pytest.raises(WorkerError) as caught:
        run_child(
            python(code),
            what="t",
            log_path=tmp_path / "log",
            on_line=lambda _: threading.Thread(target=end_children).start(),
        )
    assert caught.value.return_code == -signal.SIGTERM


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of a parent's end")
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGHUP])
def test_a_parent_that_is_killed_leaves_no_child(tmp_path: Path, sent: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stderr=subprocess.PIPE)
    child, grandchild = read_pids(tmp_path)
    try:
        assert is_alive(child)
        parent.send_signal(sent)
        parent.communicate(timeout=PATIENCE)
        wait_until(lambda: not is_alive(child), "the child to end")
        # A signal that Python turns into an exception also clears the child's own children.
        if sent == signal.SIGINT:
            wait_until(lambda: not is_alive(grandchild), "the grandchild to end")
    finally:
        if is_alive(grandchild):
            os.kill(grandchild, signal.SIGKILL)


def test_children_get_one_openmp_thread_unless_the_user_chose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert child_environment()["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert child_environment({"X": "y"})["OMP_NUM_THREADS"] == "4"
    assert child_environment({"X": "y"})["X"] == "y"
