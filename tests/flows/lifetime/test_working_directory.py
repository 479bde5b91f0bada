"""Runs start where the project is installed, wherever they were deployed from."""

import os
from pathlib import Path

import pytest
import yaml
from prefect import Flow
from prefect.utilities.importtools import import_object

from flows.lifetime import working_directory
from flows.lifetime.working_directory import enter_project

ROOT = Path(__file__).resolve().parents[3]


def test_the_pull_step_enters_the_folder_of_the_flows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert enter_project() == {"directory": str(ROOT)}
    assert Path.cwd() == ROOT
    assert os.access("flows/pipeline.py", os.R_OK)


def test_runs_of_an_installed_wheel_work_where_their_worker_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, temporary = tmp_path / "started", tmp_path / "temporary"
    for folder in (started, temporary):
        folder.mkdir()
    monkeypatch.setattr(working_directory, "PROJECT", tmp_path / "site-packages")
    monkeypatch.chdir(temporary)
    monkeypatch.setenv("PWD", str(started))
    assert enter_project() == {"directory": str(started)}
    assert Path.cwd() == started


def test_prefect_yaml_names_the_pull_step_that_exists() -> None:
    (step,) = yaml.safe_load((ROOT / "prefect.yaml").read_text())["pull"]
    ((name, inputs),) = step.items()
    assert import_object(name) is enter_project
    assert inputs == {}


def test_every_deployment_names_a_flow_that_can_be_imported_from_any_folder() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert len(deployments) >= 6
    assert all(isinstance(import_object(one["entrypoint"]), Flow) for one in deployments)
