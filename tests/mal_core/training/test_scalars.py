"""Training curves and the trackers they go to."""

import importlib.util
import json

import pytest

from mal_core.errors import ConfigError
from mal_core.training.scalars import Scalars, check_trackers


def test_a_resumed_run_repeats_no_line(tmp_path):
    first = Scalars(tmp_path, 0, [])
    for step in (10, 20, 30):
        first.write(step, {"loss": step / 10})
    first.close()
    second = Scalars(tmp_path, 25, ["tensorboard"])
    second.write(30, {"loss": 9.0})
    second.close()
    lines = [json.loads(line) for line in (tmp_path / "scalars.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(10, 1.0), (20, 2.0), (30, 9.0)]
    assert list((tmp_path / "tensorboard").iterdir())


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_refused_with_the_extra_to_install(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=rf"mal-pipeline\[{name}\]"):
        check_trackers(["tensorboard", name])


def test_mlflow_keeps_the_curves_and_continues_its_run(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="the mlflow extra is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    for first_step in (0, 10):
        scalars = Scalars(tmp_path, first_step, ["mlflow"])
        scalars.write(first_step + 5, {"loss": 1.0 + first_step})
        scalars.close()
    client = mlflow.tracking.MlflowClient()
    run_id = (tmp_path / "mlflow_run_id").read_text()
    points = [(m.step, m.value) for m in client.get_metric_history(run_id, "loss")]
    assert points == [(5, 1.0), (15, 11.0)]


def test_wandb_keeps_the_curves_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the wandb extra is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    scalars = Scalars(tmp_path, 0, ["wandb"])
    scalars.write(5, {"loss": 1.0})
    scalars.close()
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))


def test_a_tracker_that_does_not_answer_is_refused_before_training(tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="the mlflow extra is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ConfigError, match=r"mal\.trackers names mlflow.*MLFLOW_TRACKING_URI"):
        Scalars(tmp_path, 0, ["mlflow"])
