"""Rates come from what children report; work that is ended by us is no failure."""

import threading
import time
from pathlib import Path

import pytest

from flows.commands import measuring
from flows.commands.measuring import Watch
from flows.stages.run import Run
from flows.store.stage_names import CHECK, GUIDE
from flows.store.stage_names import LABEL as LABELING
from flows.store.stage_names import TRAIN as TRAINING
from mal_core.errors import WorkerError
from mal_core.processes import progress
from tests.flows.stand_ins import LABEL, PSEUDO, TRAIN, Pipeline, StandIns


def tell(title: str, done: int, total: int) -> None:
    for listener in [*progress.listeners]:
        listener(title, done, total, "")


def failed() -> WorkerError:
    return WorkerError("child", return_code=-15, log_path=Path("log"), last_lines=[])


def fail_soon() -> None:
    tell("train", 0, 10)
    raise failed()


def test_work_is_ended_once_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(measuring, "end_children", ended.set)
    watch = Watch(0.2)
    with watch.over("train MAL"):
        tell("check images", 3, 9)
        for done in range(500):
            tell("train MAL", done, 1000)
            time.sleep(0.01)
            if ended.is_set():
                raise failed()
    rate, units = watch.rate()
    assert units == 1000
    assert 20 < rate <= 100
    assert watch.start_up() < 0.2
    assert not progress.listeners or watch not in progress.listeners


def test_slow_work_goes_on_until_something_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(measuring, "end_children", ended.set)
    watch = Watch(0.05)
    with watch.over("label boxes"):
        tell("label boxes", 0, 50)
        time.sleep(0.2)
        assert not ended.is_set()
        tell("label boxes", 10, 50)
        assert ended.is_set()
        raise failed()
    rate, _ = watch.rate()
    assert rate == pytest.approx(50, rel=0.5)


def test_work_that_fails_by_itself_is_a_failure() -> None:
    watch = Watch(60)
    with pytest.raises(WorkerError), watch.over("train"):
        raise failed()
    with pytest.raises(WorkerError), watch.over("train"):
        fail_soon()


def test_work_that_ends_before_its_time_is_measured_whole() -> None:
    watch = Watch(60)
    with watch.over("label boxes"):
        tell("label boxes", 0, 4)
        time.sleep(0.1)
        tell("label boxes", 4, 4)
    rate, units = watch.rate()
    assert units == 4
    assert rate == pytest.approx(40, rel=0.5)


def test_a_guide_is_measured_by_itself_and_in_no_other_stage(
    tmp_path: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_ins = StandIns(monkeypatch)
    pipeline = Pipeline(tmp_path, drawn, stand_ins)
    run = Run(pipeline.config("mal.guide=box"))
    found = list(measuring.measure(run, seconds=1, scored=True))
    assert [one.stage for one in found[:4]] == [CHECK, GUIDE, TRAINING, LABELING]
    assert all(one.disk_bytes > 0 for one in found[1:4])
    assert stand_ins.asked == [LABEL, TRAIN, TRAIN, LABEL, PSEUDO, PSEUDO]


@pytest.mark.parametrize("given", ["mal.guide={annotations}", "labeler=grabcut"])
def test_phase_2_is_measured_whatever_draws_or_guides(
    given: str, tmp_path: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline(tmp_path, drawn, StandIns(monkeypatch))
    run = Run(pipeline.config(given.format(annotations=pipeline.annotations)))
    assert list(measuring.measure(run, seconds=1, scored=True))[-1].stage.endswith("trainings")
