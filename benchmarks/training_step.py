"""A training step beside the method written down plainly, with the same network and crops.

    python -m benchmarks.training_step [--steps 6] [--encoder NAME] [--side 224] [--batch 4]

*Plain* is what the paper's formulas say, one after the other: probabilities in two channels,
neighbours unfolded in every one of the 100 iterations of the mean field, each photo decoded for
each crop, the crop prepared between two steps, the teacher averaged tensor by tensor. Both do
steps in turns on the same batches from the same weights, so that a busy machine slows both; the
losses must agree. Prints processor seconds of each part and the ratios, medians over steps.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.__main__ import photos
from mal_core.config import EncoderConfig, MalConfig
from mal_core.data.crops import BoxCropBatch, TrainBatches
from mal_core.models.encoder import normalize
from mal_core.models.labeler import build_labeler
from mal_core.training.loop import IMAGENET_MEAN, IMAGENET_STD, LabelerTrainer
from mal_core.training.losses import dice_loss, mean_field, mil_loss, shrink_image
from mal_core.types import BoxDataset

Result = TypeVar("Result")
TOLERANCE = 1e-4
"""Relative difference of losses; sums of other order leave 1e-7 and labels at 0.5 may turn."""


class PlainBatches(TrainBatches):
    """Crops of photos that are decoded each time."""

    def __init__(self, dataset: BoxDataset, config: MalConfig, seed: int) -> None:
        super().__init__(dataset, config, seed)
        self._cache.max_bytes = 0


def plain_mean_field(image: Tensor, prob: Tensor, box: Tensor, config: MalConfig) -> Tensor:
    """The mean field in probabilities of two classes, by the formula: (B, G, G) of 0 and 1."""
    crf, side = config.crf, image.shape[-1]

    def around(values: Tensor) -> Tensor:
        columns = functional.unfold(values, crf.kernel_size, padding=crf.kernel_size // 2)
        return columns.view(*values.shape[:2], -1, side, side)

    inside = around(torch.ones_like(image[:, :1]))
    squared = (around(image) - image.unsqueeze(2)).square().sum(1, keepdim=True)
    affinity = torch.exp(-squared / (2 * crf.zeta**2)) * inside
    centre = crf.kernel_size**2 // 2
    affinity[:, :, centre] = 1.0
    prob = (prob * box).clamp(crf.low, crf.high)
    for _ in range(crf.iterations):
        both = torch.stack([1 - prob, prob], 1).log()
        scores = (affinity * around(both)).sum(2)
        scores = scores + torch.stack([torch.zeros_like(box), box.log()], 1)
        prob = scores.softmax(1)[:, 1].clamp(crf.low, crf.high)
    return (prob > 0.5).float()


class PlainTrainer(LabelerTrainer):
    """The same network and optimiser; the target and the teacher as formulas say."""

    def losses(self, batch: BoxCropBatch) -> dict[str, Tensor]:
        """As the fast trainer's, with the plain mean field."""
        config, boxes = self.config, batch.boxes_xyxy
        student = self._logits(self.student, batch.image, boxes).sigmoid()
        with torch.no_grad():
            teacher = self._logits(self.labeler.teacher, batch.teacher_image, boxes).sigmoid()
            colors = normalize(batch.teacher_image, IMAGENET_MEAN, IMAGENET_STD)
            colors = shrink_image(colors, student.shape[-1])
            target = plain_mean_field(
                colors, (student.detach() + teacher) / 2, batch.box_mask, config
            )
        mil = mil_loss(student, batch.box_mask).mean()
        crf = dice_loss(student, target).mean()
        return {"loss": config.mil_weight * mil + config.crf_weight * crf, "mil": mil, "crf": crf}


def cpu_seconds(work: Callable[[], object]) -> float:
    """Processor time of one call in this process."""
    started = time.process_time()
    work()
    return time.process_time() - started


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Processor time of one call, and what it returned."""
    results: list[Result] = []
    seconds = cpu_seconds(lambda: results.append(work()))
    return seconds, results[0]


def main() -> int:
    """Print the table; 1 when the losses differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--encoder", default="vit_tiny_patch16_224")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch", type=int, default=4)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    config = MalConfig(
        crop_size=chosen.side,
        batch_size=chosen.batch,
        max_steps=chosen.steps,
        learning_rate=1e-4,
        num_workers=0,
        mil_warmup=0,
        crf_warmup=0,
    )
    with tempfile.TemporaryDirectory() as folder:
        return measure(photos(Path(folder)), EncoderConfig(name=chosen.encoder), config)


def measure(dataset: BoxDataset, encoder: EncoderConfig, config: MalConfig) -> int:
    """Steps of both in turns, and the parts of a step by themselves."""
    trainers, batches = [], [PlainBatches(dataset, config, 0), TrainBatches(dataset, config, 0)]
    for kind in (PlainTrainer, LabelerTrainer):
        torch.manual_seed(0)
        trainers.append(kind(build_labeler(encoder, config)[0], config, 0))
    rows: dict[str, list[list[float]]] = {"sample": [[], []], "step": [[], []], "field": [[], []]}
    worst = 0.0
    for step in range(config.max_steps):
        losses = []
        for which, (trainer, source) in enumerate(zip(trainers, batches, strict=True)):
            seconds, batch = timed(partial(source.__getitem__, step))
            rows["sample"][which].append(seconds)
            seconds, told = timed(partial(trainer.train_step, batch))
            rows["step"][which].append(seconds)
            losses.append(told["loss"])
        worst = max(worst, abs(losses[0] - losses[1]) / abs(losses[0]))
        for which, field in enumerate(fields(batch, config)):
            rows["field"][which].append(cpu_seconds(field))
    table(rows, worst)
    return int(worst > TOLERANCE)


def fields(batch: BoxCropBatch, config: MalConfig) -> tuple[Callable[[], object], ...]:
    """Both mean fields on one batch, from the same soft start."""
    side = batch.box_mask.shape[-1]
    colors = shrink_image(normalize(batch.teacher_image, IMAGENET_MEAN, IMAGENET_STD), side)
    start = batch.box_mask * torch.rand(batch.box_mask.shape)
    crf = config.crf
    return (
        lambda: plain_mean_field(colors, start, batch.box_mask, config),
        lambda: mean_field(colors, start, batch.box_mask, zeta=crf.zeta, iterations=crf.iterations),
    )


def table(rows: dict[str, list[list[float]]], worst: float) -> None:
    """Processor milliseconds of plain and ours, and how many times faster."""
    titles = {
        "sample": "sample preparation",
        "step": "network, losses, update",
        "field": "mean field alone",
    }
    whole = [
        [a + b for a, b in zip(rows["sample"][w], rows["step"][w], strict=True)] for w in (0, 1)
    ]
    sys.stdout.write(f"{'CPU ms per step':28s} {'plain':>8s} {'ours':>8s} {'times':>6s}\n")
    for name, (plain, ours) in [("whole step", whole), *((titles[k], v) for k, v in rows.items())]:
        ratio = median(p / o for p, o in zip(plain, ours, strict=True))
        sys.stdout.write(
            f"{name:28s} {1e3 * median(plain):8.1f} {1e3 * median(ours):8.1f} {ratio:6.2f}\n"
        )
    sys.stdout.write(f"largest relative difference of losses: {worst:.1e}\n")


if __name__ == "__main__":
    sys.exit(main())
