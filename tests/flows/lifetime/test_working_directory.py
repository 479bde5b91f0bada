"""Runs start where the project is installed, wherever they were deployed from."""

import os
from pathlib import Path

import pytest
import yaml
from prefect.utilities.importtools import import_object

from flows.lifetime.working_directory import enter_project

ROOT = Path(__file__).resolve().parents[3]


def test_the_pull_step_enters_the_folder_of_the_flows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert enter_project() == {"directory": str(ROOT)}
    assert Path.cwd() == ROOT
    assert os.access("flows/pipeline.py", os.R_OK)


def test_prefect_yaml_names_the_pull_step_that_exists() -> None:
    (step,) = yaml.safe_load((ROOT / "prefect.yaml").read_text())["pull"]
    ((name, inputs),) = step.items()
    assert import_object(name) is enter_project
    assert inputs == {}
