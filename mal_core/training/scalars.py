"""Training curves: always as JSON lines, and for the trackers that the user named."""

import importlib
import importlib.util
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mal_core.errors import ConfigError
from mal_core.processes.files import append_jsonl

EXPERIMENT = "mal-pipeline"
EXTRAS = {"mlflow": "mlflow", "wandb": "wandb"}
"""Trackers that come with an extra of this package, and the module each needs."""

REMEDIES = {
    "mlflow": "Set MLFLOW_TRACKING_URI, for example sqlite:///mlflow.db, or drop it.",
    "wandb": "Run `wandb login`, set WANDB_MODE=offline, or drop it.",
}
SHOWN_CHARACTERS = 200


class Tracker(Protocol):
    """Where curves may go besides the JSON lines."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to every curve."""

    def close(self) -> None:
        """Flush and release."""


class TensorBoard:
    """Curves for `tensorboard --logdir`; a resumed run drops what it repeats."""

    def __init__(self, folder: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to every curve."""
        for name, value in values.items():
            self.board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush."""
        self.board.close()


class MlflowRun:
    """A run of MLflow; MLFLOW_TRACKING_URI says where, the default is a local database.

    The run's id is kept in `mlflow_run_id`, so that a resumed training continues it.
    """

    def __init__(self, folder: Path, _first_step: int) -> None:
        mlflow: Any = importlib.import_module("mlflow")
        self.mlflow = mlflow
        kept = folder / "mlflow_run_id"
        mlflow.set_experiment(EXPERIMENT)
        run_id = kept.read_text() if kept.exists() else None
        run = mlflow.start_run(run_id=run_id, run_name=None if run_id else folder.parent.name)
        kept.write_text(run.info.run_id)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to every curve."""
        self.mlflow.log_metrics(dict(values), step=step)

    def close(self) -> None:
        """End the run."""
        self.mlflow.end_run()


class WandbRun:
    """A run of Weights & Biases; WANDB_MODE=offline keeps it on this machine.

    The run's id is kept in `wandb_run_id`, so that a resumed training continues it.
    """

    def __init__(self, folder: Path, _first_step: int) -> None:
        wandb: Any = importlib.import_module("wandb")
        kept = folder / "wandb_run_id"
        run_id = kept.read_text() if kept.exists() else None
        self.run: Any = wandb.init(
            project=EXPERIMENT, dir=str(folder), id=run_id, resume="allow" if run_id else None
        )
        kept.write_text(self.run.id)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to every curve."""
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        """End the run."""
        self.run.finish()


TRACKERS: dict[str, type[TensorBoard] | type[MlflowRun] | type[WandbRun]] = {
    "tensorboard": TensorBoard,
    "mlflow": MlflowRun,
    "wandb": WandbRun,
}


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers whose package is not installed, before any training.

    Raises:
        ConfigError: Names the extra to install.
    """
    for name in names:
        module = EXTRAS.get(name)
        if module and importlib.util.find_spec(module) is None:
            message = (
                f"mal.trackers names {name}, but its package is not installed: "
                f"pip install 'mal-pipeline[{name}]', or drop it."
            )
            raise ConfigError(message)


def _open(name: str, folder: Path, first_step: int) -> Tracker:
    try:
        return TRACKERS[name](folder, first_step)
    except Exception as error:  # no common type for "no login", "no server" and "no such host"
        message = (
            f"mal.trackers names {name}, which does not answer ({type(error).__name__}: "
            f"{str(error)[:SHOWN_CHARACTERS]}). {REMEDIES.get(name, '')}"
        )
        raise ConfigError(message) from error


class Scalars:
    """The curves of one training; a resumed run continues them.

    Raises:
        ConfigError: A tracker cannot be reached; raised at birth, before any step.

    Args:
        folder: Receives `scalars.jsonl` and what trackers keep on disk.
        first_step: Lines from this step on are dropped: they are about to be repeated.
        trackers: Names from TRACKERS.
    """

    def __init__(self, folder: Path, first_step: int, trackers: Sequence[str]) -> None:
        self.path = folder / "scalars.jsonl"
        kept = [
            line
            for line in (self.path.read_text().splitlines() if self.path.exists() else [])
            if line.endswith("}") and json.loads(line)["step"] < first_step
        ]
        self.path.write_text("".join(f"{line}\n" for line in kept))
        self.trackers = [_open(name, folder, first_step) for name in trackers]
        self.started = self._last_time = time.monotonic()
        self._last_step = first_step - 1

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to every curve."""
        now = time.monotonic()
        pace = (now - self._last_time) / max(step - self._last_step, 1)
        self._last_time, self._last_step = now, step
        values = {**values, "seconds_per_step": round(pace, 4)}
        append_jsonl(self.path, {"step": step, **values, "seconds": round(now - self.started, 3)})
        for tracker in self.trackers:
            tracker.write(step, values)

    def close(self) -> None:
        """Flush all trackers."""
        for tracker in self.trackers:
            tracker.close()
