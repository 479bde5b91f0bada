"""Phase 1: train the labeler from boxes alone, in one explicit loop that can resume exactly."""

import contextlib
import dataclasses
import itertools
import logging
import math
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from mal_core.config import EncoderConfig, MalConfig
from mal_core.data.crops import BoxCropBatch, TrainBatches
from mal_core.errors import CheckpointError, ConfigError, lacks_memory
from mal_core.models.checkpoints import save_labeler
from mal_core.models.encoder import normalize
from mal_core.models.labeler import MaskAutoLabeler, build_labeler
from mal_core.models.safe_weights import read_weights
from mal_core.processes.files import atomic_path
from mal_core.processes.progress import Progress
from mal_core.processes.ranks import Group, joined_group, without_exchange
from mal_core.training.divergence import DivergenceWatch
from mal_core.training.familiar import familiar_crops
from mal_core.training.guide import read_guide
from mal_core.training.losses import dice_loss, mean_field, mil_loss, shrink_image
from mal_core.training.scalars import Scalars, check_trackers
from mal_core.training.schedule import (
    batch_numbers,
    crops_per_step,
    learning_rate_at,
    peak_rate,
    ramp,
)
from mal_core.training.self_training import RoundLabels, mask_losses
from mal_core.types import BoxDataset

logger = logging.getLogger(__name__)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Colour scale in which the CRF's zeta is given, whatever the encoder expects."""
AUTOCAST_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
ADAM_BETAS = (0.9, 0.9)
ROUND_BETAS = (0.9, 0.99)
"""Masks are steadier targets than the field of both networks."""
OUTLINE_RATE = 2.0
"""Learning rate of the outline head, which starts from nothing, relative to the other heads'."""
ROUND_CLIP = 5.0
SCALARS_EVERY = 10
STATE = "state.pth"
INTERRUPTED_EXIT = 128 + signal.SIGTERM
ALONE = Group(
    rank=0,
    world_size=1,
    device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
)


def crf_target(
    batch: BoxCropBatch, student: Tensor, teacher: Tensor, config: MalConfig, device: torch.device
) -> Tensor:
    """Labels of the mean field that starts from the mean of both networks (spec 4.2).

    Args:
        student, teacher: Probabilities, float32, shape (B, G, G).

    Returns:
        0/1 labels, float32, shape (B, G, G).
    """
    clean = config.crf.clean_view and not config.compat_official  # spec Q9
    view = batch.teacher_image if clean else batch.image
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


def _parameter_groups(labeler: MaskAutoLabeler, config: MalConfig) -> list[dict[str, Any]]:
    """What trains, with its learning rate relative to the schedule's.

    Weight decay applies to every parameter, norms and biases too, as in the reference.
    """
    network = labeler.student
    encoder = [p for p in network.encoder.parameters() if p.requires_grad]
    outline = [] if network.outline_head is None else list(network.outline_head.parameters())
    known = {id(parameter) for parameter in (*encoder, *outline)}
    heads = [p for p in network.parameters() if p.requires_grad and id(p) not in known]
    groups = [
        {"params": encoder, "relative_rate": 1.0},
        {"params": heads, "relative_rate": config.head_rate},
        {"params": outline, "relative_rate": OUTLINE_RATE * config.head_rate},
    ]
    return [group for group in groups if group["params"]]


class LabelerTrainer:
    """Owns what changes during training: networks, optimiser, step.

    Everything random is derived from the seed and the step, so the state on disk
    is weights, optimiser and step, and nothing else.
    """

    def __init__(
        self, labeler: MaskAutoLabeler, config: MalConfig, seed: int, group: Group = ALONE
    ) -> None:
        self.group = group
        self.device = group.device
        self.labeler = labeler.to(self.device).train()
        self.config = config
        self.seed = seed
        self.step = 0
        self.watch = DivergenceWatch(config)
        if config.activation_checkpointing:
            labeler.student.encoder.checkpoint_activations()
        self.trained = [p for p in labeler.student.parameters() if p.requires_grad]
        self.start_optimizer(ADAM_BETAS)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "fp16")
        if config.compile:
            # In place: state_dict keeps its names. Only the encoders, which are nearly all of
            # the work: how many boxes of each size a batch has changes the heads' shapes, and
            # every new shape would be compiled again.
            labeler.student.encoder.compile()
            labeler.teacher.encoder.compile()
        self.student = group.wrap(labeler.student)

    def start_optimizer(self, betas: tuple[float, float]) -> None:
        """An optimiser without memory, for the training from boxes or for a round."""
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(self.labeler, self.config),
            lr=peak_rate(self.config, self.group.world_size),
            betas=betas,
            weight_decay=self.config.weight_decay,
        )

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        dtype = AUTOCAST_TYPES.get(self.config.precision)
        if dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=dtype)

    def _logits(
        self,
        network: torch.nn.Module,
        image: Tensor,
        boxes: Tensor,
        box_mask: Tensor | None = None,
    ) -> Tensor:
        normalized = normalize(image.to(self.device), self.labeler.mean, self.labeler.std)
        with self._autocast():
            logits: Tensor = network(normalized, boxes, box_mask)
        return logits.float().squeeze(1)

    def losses(self, batch: BoxCropBatch) -> dict[str, Tensor]:
        """The weighted total and its parts for the current step: batch means, float32, shape ()."""
        config, boxes = self.config, batch.boxes_xyxy.to(self.device)
        if batch.target is not None:
            box_mask = batch.box_mask.to(self.device)
            logits = self._logits(self.student, batch.image, boxes, box_mask)
            return mask_losses(logits, batch.target.to(self.device))
        student = self._logits(self.student, batch.image, boxes).sigmoid()
        with torch.no_grad():
            teacher = self._logits(self.labeler.teacher, batch.teacher_image, boxes).sigmoid()
        target = crf_target(batch, student, teacher, config, self.device)
        mil = mil_loss(student, batch.box_mask.to(self.device)).mean()
        crf = dice_loss(student, target).mean()
        mil_weight = config.mil_weight * ramp(self.step, config.mil_warmup, config.max_steps)
        crf_weight = config.crf_weight * ramp(self.step, config.crf_warmup, config.max_steps)
        total = mil_weight * mil + crf_weight * crf
        return {"loss": total, "loss_mil": mil, "loss_crf": crf}

    def train_step(self, *batches: BoxCropBatch) -> dict[str, float]:
        """One optimiser step on the gradient of all batches, and one teacher update.

        Returns:
            Losses, means over batches and processes; learning rate; norm of the gradient.

        Raises:
            TrainingError: The training diverged.
        """
        # Drop path draws from this state: other numbers on every process and in every step.
        torch.manual_seed(hash((self.seed, self.step, self.group.rank)) % 2**63)
        rate = learning_rate_at(self.step, self.config, self.group.world_size)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = rate * parameters["relative_rate"]
        self.optimizer.zero_grad(set_to_none=True)
        parts, names = [], ["loss"]
        for number, batch in enumerate(batches, start=1):
            last = number == len(batches)
            with contextlib.nullcontext() if last else without_exchange(self.student):
                losses = self.losses(batch)
                names = list(losses)
                parts.append(torch.stack([loss.detach() for loss in losses.values()]))
                self.scaler.scale(losses["loss"] / len(batches)).backward()
        means = self.group.mean(torch.stack(parts).mean(0))
        values = dict(zip(names, means.tolist(), strict=True))
        self.watch.check_loss(self.step, values["loss"])
        values["gradient_norm"] = self._descend()
        self.labeler.update_teacher()
        self.step += 1
        return {**values, "learning_rate": rate}

    def _descend(self) -> float:
        """Apply the gradient, clipped if wanted; returns its norm before clipping."""
        self.scaler.unscale_(self.optimizer)
        limit = self.config.gradient_clip
        if limit is None:
            limit = ROUND_CLIP if self.step >= self.config.max_steps else math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self.trained, limit))
        self.watch.check_gradient(self.step, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return norm

    @torch.no_grad()
    def teacher_gap(self) -> float:
        """Distance of the teacher's weights from the student's, relative to their norm."""
        student = torch.nn.utils.parameters_to_vector(self.labeler.student.parameters())
        teacher = torch.nn.utils.parameters_to_vector(self.labeler.teacher.parameters())
        return float((student - teacher).norm() / student.norm())

    def save(self, path: Path) -> None:
        """Write the resumable state atomically."""
        state = {
            "step": self.step,
            "labeler": self.labeler.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        # Through a file of Python's: torch's own hides a full disk behind an internal error.
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            torch.save(state, stream)

    def load(self, path: Path) -> None:
        """Continue from a state written by `save`.

        Raises:
            CheckpointError: It names code, or is no state of this training.
        """
        state: dict[str, Any] = read_weights(path, f"state {path}", map_location=self.device)
        try:
            self.labeler.load_state_dict(state["labeler"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            self.step = int(state["step"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            if lacks_memory(error):
                raise
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            message = f"state {path} is not of this training ({reason}). Delete it to start again."
            raise CheckpointError(message) from error


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

    Writes `checkpoint.pth`, `scalars.jsonl` and what the trackers keep; `state.pth` holds
    the resumable state until the end. SIGTERM saves that state and exits with 143.
    Under torchrun every process calls this; the first one writes.

    Returns:
        Path of the checkpoint.

    Raises:
        ConfigError: No box is large enough to train on, the encoder is impossible, or a
            tracker is not installed.
        DatasetError: The guide has no mask for any box, or one that cannot be read.
        TrainingError: The training diverged.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    check_trackers(config.trackers)
    with joined_group() as group:
        torch.manual_seed(seed)
        labeler, report = build_labeler(encoder, config)
        batches = TrainBatches(dataset, config, seed)
        if not batches.boxes:
            message = (
                f"none of the {len(dataset.boxes)} boxes of {dataset.annotations_path} has an "
                f"area in [{config.min_box_area:g}, {config.max_box_area:g}) px^2: lower "
                "mal.min_box_area."
            )
            raise ConfigError(message)
        guide = None if config.guide is None else read_guide(config.guide, dataset)
        rounds = RoundLabels(
            dataset=dataset, config=config, seed=seed, group=group, folder=output_dir, guide=guide
        )
        trainer = LabelerTrainer(labeler, config, seed, group)
        state_path = output_dir / STATE
        if state_path.exists():
            trainer.load(state_path)
        group.require_same(trainer.step, str(state_path))
        if group.is_main:
            logger.info(
                "%s; %d boxes to train on, from step %d", report, len(batches.boxes), trainer.step
            )
        _run(trainer, batches, output_dir, config.max_steps)
        for number in range(1, config.self_training.rounds + 1):
            _run_round(number, trainer, rounds)
        checkpoint = output_dir / "checkpoint.pth"
        if group.is_main:
            labeler.familiar = familiar_crops(labeler, dataset, config)
            settings = dataclasses.asdict(encoder), dataclasses.asdict(config)
            save_labeler(
                checkpoint, labeler, encoder=settings[0], mal=settings[1], load_report=str(report)
            )
            for left in (state_path, *output_dir.glob("labels_of_round_*.json")):
                left.unlink(missing_ok=True)
    return checkpoint


def _run_round(number: int, trainer: LabelerTrainer, rounds: RoundLabels) -> None:
    """One round of self-training, or what is left of it."""
    config, group = trainer.config, trainer.group
    length = config.round_steps
    end = config.max_steps + number * length
    if trainer.step >= end:
        return
    if trainer.step == end - length and group.is_main:  # labels may take longer than steps
        trainer.save(rounds.folder / STATE)
    labels = rounds.of_round(number, trainer.labeler)
    if trainer.step == end - length:
        trainer.start_optimizer(ROUND_BETAS)
    first = (end - length) * crops_per_step(config, group.world_size)
    batches = TrainBatches(rounds.dataset, config, trainer.seed, labels, first=first)
    _run(trainer, batches, rounds.folder, end)


def _run(trainer: LabelerTrainer, batches: TrainBatches, output_dir: Path, end_step: int) -> None:
    """Train up to a step; nothing where that is reached."""
    config, group, state_path = trainer.config, trainer.group, output_dir / STATE
    if trainer.step >= end_step:
        return
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=batch_numbers(config, group, trainer.step, end_step),
        num_workers=config.num_workers,
    )
    with contextlib.ExitStack() as stack:
        progress = scalars = None
        if group.is_main:
            progress = stack.enter_context(Progress("train MAL", config.total_steps, trainer.step))
            scalars = Scalars(output_dir, trainer.step + 1, config.trackers)
            stack.enter_context(contextlib.closing(scalars))
        interrupted = stack.enter_context(_sigterm_flag())
        incoming = iter(loader)
        while trainer.step < end_step:
            values = trainer.train_step(*itertools.islice(incoming, config.accumulate_steps))
            step = trainer.step
            if progress:
                progress.update(step, loss=values["loss"])
            if scalars and (step % SCALARS_EVERY == 0 or step == end_step):
                scalars.write(step, {**values, "teacher_gap": trainer.teacher_gap()})
            if _anyone(group, bool(interrupted)):
                _save_and_exit(trainer, state_path)
            if group.is_main and step % config.checkpoint_every == 0 and step < end_step:
                trainer.save(state_path)


def _anyone(group: Group, asked: bool) -> bool:
    """Whether any process was asked to end, so that all of them end after the same step."""
    if group.world_size == 1:
        return asked
    return bool(group.mean(torch.tensor(float(asked), device=group.device)) > 0)


def _save_and_exit(trainer: LabelerTrainer, state_path: Path) -> NoReturn:
    if trainer.group.is_main:
        trainer.save(state_path)
        logger.info("interrupted: saved step %d of %d", trainer.step, trainer.config.total_steps)
    trainer.group.wait()  # torchrun ends all processes as soon as one has ended
    raise SystemExit(INTERRUPTED_EXIT)
