"""Which runner labels, and what is refused before anything is trained."""

import importlib.util
from pathlib import Path

import pytest

from flows.settings import composing
from flows.stages import label_runners, session
from flows.stages.label_runners import in_threads
from flows.stages.run import Run
from mal_core.errors import ConfigError, WorkerError
from mal_core.jobs import phase1, shards

FILES = ["data.train.images=photos", "data.train.annotations=train.json"]


@pytest.mark.parametrize("runner", ["dask", "ray"])
def test_a_runner_without_its_package_is_refused_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, runner: str
) -> None:
    found = importlib.util.find_spec
    absent = f"prefect_{runner}"
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == absent else found(name)
    )
    config = composing.compose([*FILES, f"label_runner={runner}"])
    with pytest.raises(ConfigError, match=rf"pip install 'mal-pipeline\[{runner}\]'"):
        session.check_settings(config)


@pytest.mark.parametrize(
    ("runner", "address"),
    [("dask", "tcp://127.0.0.1:1"), ("ray", "127.0.0.1:1"), ("ray", "ray://127.0.0.1:1")],
)
def test_a_cluster_that_does_not_answer_is_refused_before_anything_is_trained(
    runner: str, address: str
) -> None:
    named = f"{runner}_address='{address}'"
    config = composing.compose([*FILES, f"label_runner={runner}", named])
    with pytest.raises(ConfigError, match=f"{runner}_address={address} does not answer"):
        session.check_settings(config)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("label_shards=0", "label_shards=0"),
        ("label_workers=0", "label_workers=0"),
        ("label_runner=spark", "label_runner='spark'"),
        ("dask_address='tcp://127.0.0.1:8786'", "label_runner=dask"),
        ("ray_address='127.0.0.1:6379'", "label_runner=ray"),
    ],
)
def test_an_impossible_setting_is_refused(override: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        composing.compose([*FILES, override])


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        (["label_shards=1"], 1),
        (["label_shards=99", "label_workers=3"], 3),
        (["label_shards=2", "label_workers=3"], 2),
        (["label_shards=99", "label_runner=ray", "ray_address=auto"], 99),
    ],
)
def test_as_many_work_side_by_side_as_there_is_work_and_as_asked_for(
    overrides: list[str], wanted: int
) -> None:
    assert composing.compose([*FILES, *overrides]).labelers_side_by_side == wanted


def test_a_run_outside_of_prefect_has_no_dask(tmp_path: Path) -> None:
    run = Run(composing.compose([*FILES, "label_runner=dask", f"store={tmp_path}"]))
    job = phase1.LabelJob(
        images=tmp_path,
        annotations=tmp_path / "train.json",
        strict=False,
        checkpoint=tmp_path / "checkpoint.pth",
        mal=run.config.mal,
        output=tmp_path / "labels" / "train.json",
        ledger=tmp_path / "labels" / "skipped.json",
    )
    with pytest.raises(ConfigError, match="works through Prefect"):
        label_runners.label(run, job)


def test_the_first_shard_that_fails_ends_the_labeling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise WorkerError(str(path), return_code=1, log_path=path, last_lines=[])

    monkeypatch.setattr(shards, "label_shard_in_child", fail)
    config = composing.compose([*FILES, "label_shards=2", "label_workers=2"])
    with pytest.raises(WorkerError):
        in_threads(config, [tmp_path / "1", tmp_path / "2"])
