"""Phase 1: train the labeler from boxes alone, in one explicit loop that can resume exactly."""

import contextlib
import dataclasses
import json
import logging
import math
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from mal_core.artifacts import append_jsonl, atomic_path
from mal_core.checkpoints import save_labeler
from mal_core.config import EncoderConfig, MalConfig
from mal_core.data.crops import BoxCropBatch, TrainBatches
from mal_core.errors import ConfigError, TrainingError
from mal_core.losses import dice_loss, mean_field, mil_loss, shrink_image
from mal_core.models import MaskAutoLabeler, build_labeler
from mal_core.models.encoder import normalize
from mal_core.progress import Progress
from mal_core.types import BoxDataset

logger = logging.getLogger(__name__)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Colour scale in which the CRF's zeta is given, whatever the encoder expects."""
AUTOCAST_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
ADAM_BETAS = (0.9, 0.9)
SCALARS_EVERY = 10
INTERRUPTED_EXIT = 128 + signal.SIGTERM


def learning_rate_at(step: int, config: MalConfig) -> float:
    """Linear warm-up, then cosine to `final_rate` (spec section 5); set before the step."""
    warmup = config.warmup * config.max_steps
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    phase = (step - warmup) / max(config.max_steps - warmup, 1)
    cosine = 0.5 * (1 + math.cos(math.pi * min(phase, 1.0)))
    return config.learning_rate * (config.final_rate + (1 - config.final_rate) * cosine)


def ramp(step: int, share: float, max_steps: int) -> float:
    """Weight of a loss during its warm-up, from 0 to 1 over `share` of the run (spec 4.3)."""
    length = share * max_steps
    return 1.0 if step >= length else step / length


def crf_target(
    batch: BoxCropBatch, student: Tensor, teacher: Tensor, config: MalConfig, device: torch.device
) -> Tensor:
    """Labels of the mean field that starts from the mean of both networks (spec 4.2).

    Args:
        student, teacher: Probabilities, shape (B, G, G).

    Returns:
        0/1 labels, shape (B, G, G).
    """
    view = batch.teacher_image if config.crf.clean_view else batch.image
    colors = normalize(view.to(device), IMAGENET_MEAN, IMAGENET_STD)
    return mean_field(
        shrink_image(colors, student.shape[-1]),
        (student.detach() + teacher) / 2,
        batch.box_mask.to(device),
        kernel_size=config.crf.kernel_size,
        zeta=config.crf.zeta,
        iterations=config.crf.iterations,
        low=config.crf.low,
        high=config.crf.high,
    )


class LabelerTrainer:
    """Owns what changes during training: networks, optimiser, step.

    Everything random is derived from the seed and the step, so the state on disk
    is weights, optimiser and step, and nothing else.
    """

    def __init__(self, labeler: MaskAutoLabeler, config: MalConfig, seed: int) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.labeler = labeler.to(self.device).train()
        self.config = config
        self.seed = seed
        self.step = 0
        trained = [p for p in labeler.student.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            trained, lr=config.learning_rate, betas=ADAM_BETAS, weight_decay=config.weight_decay
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "fp16")

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        dtype = AUTOCAST_TYPES.get(self.config.precision)
        if dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=dtype)

    def _logits(self, network: torch.nn.Module, image: Tensor, boxes: Tensor) -> Tensor:
        normalized = normalize(image.to(self.device), self.labeler.mean, self.labeler.std)
        with self._autocast():
            logits: Tensor = network(normalized, boxes)
        return logits.float().squeeze(1)

    def losses(self, batch: BoxCropBatch) -> dict[str, Tensor]:
        """The weighted total and its parts, batch means, for the current step."""
        config, boxes = self.config, batch.boxes_xyxy.to(self.device)
        student = self._logits(self.labeler.student, batch.image, boxes).sigmoid()
        with torch.no_grad():
            teacher = self._logits(self.labeler.teacher, batch.teacher_image, boxes).sigmoid()
        target = crf_target(batch, student, teacher, config, self.device)
        mil = mil_loss(student, batch.box_mask.to(self.device)).mean()
        crf = dice_loss(student, target).mean()
        mil_weight = config.mil_weight * ramp(self.step, config.mil_warmup, config.max_steps)
        crf_weight = config.crf_weight * ramp(self.step, config.crf_warmup, config.max_steps)
        total = mil_weight * mil + crf_weight * crf
        return {"loss": total, "loss_mil": mil, "loss_crf": crf}

    def train_step(self, batch: BoxCropBatch) -> dict[str, float]:
        """One optimiser step and one teacher update.

        Raises:
            TrainingError: The loss is not finite.
        """
        torch.manual_seed(hash((self.seed, self.step)) % 2**63)  # drop path
        rate = learning_rate_at(self.step, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses = self.losses(batch)
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        if not math.isfinite(values["loss"]):
            message = (
                f"phase 1 diverged: the loss is {values['loss']} at step {self.step}. Lower "
                f"mal.learning_rate (now {self.config.learning_rate:g}), set mal.gradient_clip, "
                "or use mal.precision=fp32."
            )
            raise TrainingError(message)
        self._descend(losses["loss"])
        self.labeler.update_teacher()
        self.step += 1
        return {**values, "learning_rate": rate}

    def _descend(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.config.gradient_clip is not None:
            self.scaler.unscale_(self.optimizer)
            trained = self.optimizer.param_groups[0]["params"]
            torch.nn.utils.clip_grad_norm_(trained, self.config.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def save(self, path: Path) -> None:
        """Write the resumable state atomically."""
        state = {
            "step": self.step,
            "labeler": self.labeler.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        with atomic_path(path) as temporary:
            torch.save(state, temporary)

    def load(self, path: Path) -> None:
        """Continue from a state written by `save`."""
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        self.labeler.load_state_dict(state["labeler"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.step = state["step"]


class _Scalars:
    """Training curves as JSON lines and for TensorBoard; a resumed run continues them."""

    def __init__(self, folder: Path, first_step: int) -> None:
        self.path = folder / "scalars.jsonl"
        kept = [
            line
            for line in (self.path.read_text().splitlines() if self.path.exists() else [])
            if line.endswith("}") and json.loads(line)["step"] < first_step
        ]
        self.path.write_text("".join(f"{line}\n" for line in kept))
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step)
        self.started = time.monotonic()

    def write(self, step: int, values: dict[str, float]) -> None:
        seconds = round(time.monotonic() - self.started, 3)
        append_jsonl(self.path, {"step": step, **values, "seconds": seconds})
        for name, value in values.items():
            self.board.add_scalar(name, value, step)

    def close(self) -> None:
        self.board.close()


@contextlib.contextmanager
def _sigterm_flag() -> Iterator[list[bool]]:
    """A list that becomes non-empty when SIGTERM asks this process to end."""
    asked: list[bool] = []
    previous = signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, previous)


def train_labeler(
    dataset: BoxDataset, encoder: EncoderConfig, config: MalConfig, *, seed: int, output_dir: Path
) -> Path:
    """Train a labeler, or continue one that was interrupted in `output_dir`.

    Writes `checkpoint.pth`, `scalars.jsonl` and `tensorboard/`; `state.pth` holds
    the resumable state until the end. SIGTERM saves that state and exits with 143.

    Returns:
        Path of the checkpoint.

    Raises:
        ConfigError: No box is large enough to train on, or the encoder is impossible.
        TrainingError: The loss is not finite.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    labeler, report = build_labeler(encoder, config)
    batches = TrainBatches(dataset, config, seed)
    if not batches.boxes:
        message = (
            f"none of the {len(dataset.boxes)} boxes of {dataset.annotations_path} has an area in "
            f"[{config.min_box_area:g}, {config.max_box_area:g}) px^2: lower mal.min_box_area."
        )
        raise ConfigError(message)
    trainer = LabelerTrainer(labeler, config, seed)
    state_path = output_dir / "state.pth"
    if state_path.exists():
        trainer.load(state_path)
    logger.info("%s; %d boxes to train on, from step %d", report, len(batches.boxes), trainer.step)
    _run(trainer, batches, output_dir, state_path)
    checkpoint = output_dir / "checkpoint.pth"
    settings = dataclasses.asdict(encoder), dataclasses.asdict(config)
    save_labeler(checkpoint, labeler, encoder=settings[0], mal=settings[1], load_report=str(report))
    state_path.unlink(missing_ok=True)
    return checkpoint


def _run(
    trainer: LabelerTrainer, batches: TrainBatches, output_dir: Path, state_path: Path
) -> None:
    config = trainer.config
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=range(trainer.step, config.max_steps),
        num_workers=config.num_workers,
    )
    scalars = _Scalars(output_dir, trainer.step)
    title = "train MAL"
    with (
        Progress(title, config.max_steps, trainer.step) as progress,
        _sigterm_flag() as interrupted,
        contextlib.closing(scalars),
    ):
        for batch in loader:
            values = trainer.train_step(batch)
            step = trainer.step
            progress.update(step, loss=values["loss"])
            if step % SCALARS_EVERY == 0 or step == config.max_steps:
                scalars.write(step, values)
            if interrupted:
                trainer.save(state_path)
                logger.info("interrupted: saved step %d of %d", step, config.max_steps)
                raise SystemExit(INTERRUPTED_EXIT)
            if step % config.checkpoint_every == 0 and step < config.max_steps:
                trainer.save(state_path)
