"""What a training says while it runs: progress, scalars, and that something is wrong."""

import json
import logging
import math
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mal_core.errors import ConfigError, TrainingError
from mal_core.jobs.segmenter import SCALARS_FILE, SegmenterJob
from mal_core.models.safe_weights import read_weights
from mal_core.processes.files import append_jsonl, atomic_path
from mal_core.processes.progress import Progress

logger = logging.getLogger("phase2")

NUM_SCALARS = 200
MIN_WEIGHTS_FOUND = 0.5


class PredictionProgress(Hook):
    """Reports how many batches are predicted."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.progress: Progress | None = None

    def before_test(self, runner: Runner) -> None:
        """Open the bar."""
        self._open(self.title, len(runner.test_dataloader), 0)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Report one batch."""
        self.progress.update(batch_idx + 1)

    def after_test(self, runner: Runner) -> None:
        """Close the bar."""
        self._close()

    def _open(self, title: str, total: int, done: int) -> None:
        self.progress = Progress(title, total, done)
        self.progress.__enter__()

    def _close(self) -> None:
        self.progress.__exit__(None, None, None)


class Monitor(PredictionProgress):
    """Reports progress, writes scalars, stops on a loss that is no number."""

    def __init__(self, job: SegmenterJob, work_dir: Path) -> None:
        super().__init__(f"predict {job.recipe.name}")
        self.name = job.recipe.name
        self.weights = job.recipe.weights
        self.scalars = work_dir / SCALARS_FILE
        self.started = time.monotonic()
        self.every = 1

    def before_train(self, runner: Runner) -> None:
        """Open the bar; forget scalars of steps that will be done again."""
        self.every = max(1, runner.max_iters // NUM_SCALARS)
        _keep_scalars(self.scalars, runner.iter)
        if self.weights not in (None, "hub") and runner.iter == 0:
            check_weights(_backbone(runner.model), Path(self.weights))
        self._open(f"train {self.name}", runner.max_iters, runner.iter)
        self.started = time.monotonic()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, torch.Tensor] | None = None,
    ) -> None:
        """Report one step; `outputs` holds its loss, float, shape ().

        Raises:
            TrainingError: The loss is no number any more.
        """
        step = runner.iter + 1
        loss = outputs["loss"].item()
        if not math.isfinite(loss):
            message = f"{self.name}: the loss is {loss} at step {step}; lower the learning rate."
            raise TrainingError(message)
        self.progress.update(step, loss=loss)
        if step % self.every == 0 or step == runner.max_iters:
            rate = runner.optim_wrapper.get_lr()["lr"][0]
            seconds = round(time.monotonic() - self.started, 3)
            scalars = {"step": step, "loss": loss, "learning_rate": rate, "seconds": seconds}
            append_jsonl(self.scalars, scalars)

    def after_train(self, runner: Runner) -> None:
        """Close the bar."""
        self._close()


def _backbone(model: torch.nn.Module) -> torch.nn.Module:
    inner: Any = getattr(model, "module", model)  # several processes wrap it
    backbone: torch.nn.Module = inner.backbone
    return backbone


def _keep_scalars(path: Path, step: int) -> None:
    lines = path.read_text().splitlines() if path.exists() else []
    kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in kept))


def check_weights(backbone: torch.nn.Module, path: Path) -> None:
    """Make sure that a weights file really filled the backbone; mmengine only logs misses.

    Raises:
        ConfigError: Less than half of the backbone's weights are in the file.
    """
    content = read_weights(path, f"weights file {path}")  # mmdet's zoo has more than tensors
    content = content.get("state_dict", content.get("model", content))
    known = {_print_of(value) for value in content.values() if torch.is_tensor(value)}
    parameters = list(backbone.parameters())
    found = sum(p.numel() for p in parameters if _print_of(p) in known)
    share = found / sum(p.numel() for p in parameters)
    logger.info("weights: %.1f %% of the backbone come from %s", 100 * share, path)
    if share < MIN_WEIGHTS_FOUND:
        message = f"{path}: only {100 * share:.1f} % of the backbone's weights are in this file."
        raise ConfigError(message)


def _print_of(value: torch.Tensor) -> tuple[int, float]:
    # Names differ between formats; size and norm do not, also after a permutation.
    return value.numel(), round(float(value.detach().double().norm()), 5)
