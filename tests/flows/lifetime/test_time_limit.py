"""A run that has used up its time ends as if its user had interrupted it."""

import contextlib
import json
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from flows.lifetime import interruption
from flows.lifetime import time_limit as time_limits
from flows.lifetime.time_limit import TIME_IS_UP, time_limit
from flows.workers.side_by_side import side_by_side
from mal_core.errors import TimeIsUpError
from mal_core.processes.children import run_child
from tests.flows.held_training import any_asked_to_end, hold_training, signal_all

CURVE = "train-mal/*.partial/scalars.jsonl"
MESSAGE = r"stopped after 0.0\d minutes \(time_limit_minutes=0.0\d\); the same command continues"


def sleeping_child(folder: Path, name: str = "log") -> None:
    """A child that would take much longer, and ends well when it is asked to."""
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('saved', flush=True), sys.exit(143)))\n"
        "open(sys.argv[1], 'w').write('saved')\n"
        "time.sleep(300)"
    )
    run_child([sys.executable, "-c", code, str(folder / "up")], what="w", log_path=folder / name)


def test_the_limit_ends_a_child_and_says_why(tmp_path):
    before = signal.getsignal(TIME_IS_UP)
    with pytest.raises(TimeIsUpError, match=MESSAGE), time_limit(0.02):
        sleeping_child(tmp_path)
    assert signal.getsignal(TIME_IS_UP) is before


def test_the_limit_ends_children_side_by_side(tmp_path):
    calls = [lambda name=name: sleeping_child(tmp_path, name) for name in "abc"]
    with pytest.raises(TimeIsUpError, match=MESSAGE), time_limit(0.02):
        side_by_side(calls, 2)


def test_a_run_in_time_is_left_alone(tmp_path):
    with time_limit(10.0):
        run_child([sys.executable, "-c", "pass"], what="w", log_path=tmp_path / "log")
    with time_limit(None):
        pass
    interruption.stop_if_asked()


def test_a_limit_inside_a_limit_is_the_outer_one():
    with time_limit(10.0), time_limit(0.001):
        time.sleep(0.5)


def test_a_limit_that_a_library_swallowed_is_raised_again():
    with time_limit(0.02):
        with contextlib.suppress(TimeIsUpError):
            time.sleep(60)
        with pytest.raises(TimeIsUpError, match=MESSAGE):
            interruption.stop_if_asked()


def test_a_signal_that_is_not_heard_at_once_comes_again(monkeypatch):
    sent = []
    heard, over = threading.Event(), threading.Event()

    def unheard_at_first(_thread, number):
        sent.append(number)
        if len(sent) == 3:
            heard.set()

    monkeypatch.setattr(time_limits.signal, "pthread_kill", unheard_at_first)
    monkeypatch.setattr(time_limits, "SECONDS_BETWEEN_SIGNALS", 0.01)
    time_limits._signal_after(0.01, over, heard)
    assert sent == [TIME_IS_UP] * 3


@pytest.mark.slow
def test_a_training_ends_in_time_and_the_same_command_continues_it(fresh_mal, files, phase_1):
    settings = [*files()[:2], *phase_1, "mal.max_steps=1000000"]
    process = fresh_mal.start("train", *settings, "time_limit_minutes=0.4")
    store = fresh_mal.root / "store"
    while process.poll() is None and not any(map(Path.read_text, store.glob(CURVE))):
        time.sleep(0.1)
    held = hold_training(store)  # it would train for nothing until the time is up
    while held and not any_asked_to_end(held):
        time.sleep(0.1)
    signal_all(held, signal.SIGCONT)
    output = process.communicate()[0]
    assert process.returncode == 124, output
    assert "mal: stopped after 0.4 minutes (time_limit_minutes=0.4)" in output
    assert "Traceback" not in output
    fresh_mal.wait_until_alone()
    curves = list(store.glob(CURVE))
    if not curves:  # a very busy machine had not begun to train
        return
    last = json.loads(curves[0].read_text().splitlines()[-1])["step"]
    assert fresh_mal.end_at("boxes to train on, from step", signal.SIGINT, "train", *settings)
    log = curves[0].with_name("train.log").read_text().splitlines()
    begun = [line for line in log if "boxes to train on, from step" in line]
    assert [int(line.rpartition(" ")[2]) >= last for line in begun] == [False, True]
