"""What runs on a GPU gives what the CPU gives; every case needs one."""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from mal_core.data.crops import TrainBatches
from mal_core.labeling.mask_writer import MaskWriter
from mal_core.models.labeler import build_labeler
from mal_core.processes.ranks import Group
from mal_core.training.loop import LabelerTrainer
from mal_core.training.losses import dice_loss, mean_field, mil_loss
from mal_core.training.mean_field import Field, settle_in_graph, settle_step_by_step
from tests.mal_core.drawn import TINY_ENCODER, cut_views, draw_ellipses, tiny_mal

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
NO_DROP_PATH = dataclasses.replace(TINY_ENCODER, drop_path=0.0)


def trainer_on(device: torch.device, **changes: object) -> LabelerTrainer:
    torch.manual_seed(0)
    config = tiny_mal(**changes)
    labeler, _ = build_labeler(NO_DROP_PATH, config)
    return LabelerTrainer(labeler, config, 0, Group(rank=0, world_size=1, device=device))


def losses_on(device: torch.device, folder: Path, steps: int = 3, **changes: object) -> list[float]:
    trainer = trainer_on(device, **changes)
    dataset, _ = draw_ellipses(folder / "images", 4)
    batches = TrainBatches(dataset, trainer.config, 0)
    return [trainer.train_step(batches[step])["loss"] for step in range(steps)]


def test_losses_equal_the_cpus():
    generator = torch.Generator().manual_seed(0)
    prob, box = torch.rand(2, 3, 24, 24, generator=generator)
    for loss in (dice_loss, mil_loss):
        torch.testing.assert_close(loss(prob.cuda(), box.cuda()).cpu(), loss(prob, box))


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("boxed", [True, False])
def test_mean_field_labels_equal_the_cpus(kernel_size: int, boxed: bool):
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(3, 3, 32, 32, generator=generator).cumsum(3) * 0.05
    prob = torch.rand(3, 32, 32, generator=generator)
    box = torch.zeros(3, 32, 32)
    box[:, 4:28, 6:26] = 1
    here = mean_field(image, prob, box if boxed else None, kernel_size=kernel_size)
    there = mean_field(
        image.cuda(), prob.cuda(), box.cuda() if boxed else None, kernel_size=kernel_size
    )
    # Rounding decides where a log-odds is almost 0.
    assert (here != there.cpu()).float().mean() < 0.002


@pytest.mark.parametrize("iterations", [1, 7, 10, 25, 100])
def test_the_recorded_mean_field_equals_the_stepwise_one_to_the_bit(iterations: int):
    generator = torch.Generator().manual_seed(1)
    for _ in range(2):  # the second call replays with other numbers
        state, affinity = torch.randn(2, 500, generator=generator).cuda()
        field = Field(
            log_odds=state.clamp(-2, 2),
            updated=torch.empty_like(state),
            neighbours=[(1, affinity.abs()), (20, affinity.square())],
            log_box=None,
            bounds=(-2.0, 2.0),
        )
        other = dataclasses.replace(field, log_odds=field.log_odds.clone())
        expected = settle_step_by_step(other, iterations)
        assert torch.equal(settle_in_graph(field, iterations), expected)


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("fp32", 2e-3), ("bf16", 3e-2), ("fp16", 3e-2)]
)
def test_training_follows_the_cpus_losses(precision: str, tolerance: float, tmp_path: Path):
    expected = losses_on(CPU, tmp_path / "cpu")
    seen = losses_on(CUDA, tmp_path / "cuda", precision=precision)
    np.testing.assert_allclose(seen, expected, rtol=tolerance)


def test_compiled_training_follows_the_eager_one(tmp_path: Path):
    eager = losses_on(CUDA, tmp_path / "eager")
    np.testing.assert_allclose(
        losses_on(CUDA, tmp_path / "compiled", compile=True), eager, rtol=2e-3
    )


def test_a_state_saved_on_a_gpu_continues_there_and_on_a_cpu(tmp_path: Path):
    dataset, _ = draw_ellipses(tmp_path / "images", 4)
    trainer = trainer_on(CUDA)
    batches = TrainBatches(dataset, trainer.config, 0)
    trainer.train_step(batches[0])
    trainer.save(tmp_path / "state.pth")
    expected = trainer.train_step(batches[1])["loss"]
    for device in (CUDA, CPU):
        other = trainer_on(device)
        other.load(tmp_path / "state.pth")
        assert other.train_step(batches[1])["loss"] == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-2), ("auto", 0.1)])
def test_labels_equal_the_cpus_but_for_rounding(
    precision: Literal["fp32", "auto"],
    tolerance: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    dataset, _ = draw_ellipses(tmp_path / "images", 2)
    config = tiny_mal(label_precision=precision)
    torch.manual_seed(0)
    labeler, _ = build_labeler(NO_DROP_PATH, config)
    views = [
        view
        for record in dataset.images
        for view in cut_views(
            record,
            [box for box in dataset.boxes if box.image_id == record.image_id],
            dataset.image_root,
            config,
        )
    ]
    crops = torch.from_numpy(np.stack([item.views[0].crop for item in views]))
    boxes = torch.tensor([item.annotation.box_xyxy for item in views])
    on_gpu = MaskWriter(labeler, config)
    assert on_gpu.device.type == "cuda"
    there = on_gpu.logits(crops, boxes)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    here = MaskWriter(labeler, config).logits(crops, boxes)
    torch.testing.assert_close(there, here, rtol=tolerance, atol=tolerance)
