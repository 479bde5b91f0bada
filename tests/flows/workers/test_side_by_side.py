"""Trainings side by side: which failure ends what."""

import threading
import time
from pathlib import Path

import pytest

from flows.lifetime.interruption import stop_if_asked
from flows.workers.side_by_side import side_by_side
from mal_core.errors import ArmsError, DatasetError, SegmenterError


def breaks(return_code: int):
    def call():
        raise SegmenterError("s", return_code=return_code, log_path=Path("log"), last_lines=("x",))

    return call


@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize("return_code", [1, 3, -9])
def test_a_training_that_breaks_off_leaves_the_others_alone(limit, return_code):
    done = []
    calls = [lambda: done.append(1), breaks(return_code), lambda: done.append(2)]
    with pytest.raises(ArmsError, match="1 of 3 trainings failed") as caught:
        side_by_side(calls, limit)
    assert sorted(done) == [1, 2]
    assert caught.value.errors[0].return_code == return_code


@pytest.mark.parametrize("limit", [1, 2])
def test_wrong_input_ends_all(limit):
    done = []
    calls = [breaks(2), lambda: time.sleep(0.1), lambda: done.append(1)]
    with pytest.raises(SegmenterError):
        side_by_side(calls, limit)
    assert limit > 1 or done == []


def test_wrong_input_ends_who_waits_for_another_machine_too():
    waiting, ended = threading.Event(), []

    def wait_for_a_lease():
        waiting.set()
        deadline = time.monotonic() + 60
        try:
            while time.monotonic() < deadline:
                stop_if_asked()
                time.sleep(0.01)
        except KeyboardInterrupt:
            ended.append(True)
            raise

    def break_beside_it():
        waiting.wait(60)
        breaks(2)()

    with pytest.raises(SegmenterError):
        side_by_side([wait_for_a_lease, break_beside_it], 2)
    assert ended == [True]
    stop_if_asked()  # what comes after is not ended


def test_any_other_error_is_passed_on():
    def call():
        raise DatasetError(Path("f"), ["p"])

    with pytest.raises(DatasetError):
        side_by_side([call, call], 2)


def test_results_come_in_the_order_of_the_calls():
    first = threading.Event()

    def slow():
        first.wait(5)
        return "slow"

    def fast():
        first.set()
        return "fast"

    assert side_by_side([slow, fast], 2) == ["slow", "fast"]
