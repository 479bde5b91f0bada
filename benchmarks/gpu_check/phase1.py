"""Phase 1 on the card: steps/s in three precisions, the CPU's losses, the mean field's roofline."""

import gc
import os
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu_check import device
from benchmarks.gpu_check.sizes import Sizes
from mal_core.config import MalConfig
from mal_core.data.crops import LOGIT_STRIDE, BoxCropBatch
from mal_core.models.labeler import build_labeler
from mal_core.processes.ranks import Group
from mal_core.training.loop import LabelerTrainer
from mal_core.training.losses import mean_field
from mal_core.training.mean_field import settle_step_by_step

TOLERANCE = {"fp32": 2e-3, "bf16": 3e-2}
"""Relative difference of losses from the CPU's float32 that rounding explains."""
MODES: dict[str, dict[str, Any]] = {
    "eager fp32": {"precision": "fp32"},
    "eager bf16": {"precision": "bf16"},
    "compiled bf16": {"precision": "bf16", "compile": True},
}


def batch_of(count: int, side: int, seed: int = 0) -> BoxCropBatch:
    """Crops with structure at several scales, boxes of all sizes in their middle."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.zeros(count, 3, side, side)
    for coarse in (max(1, side // 32), max(1, side // 8), max(1, side // 2)):
        noise = torch.randn(count, 3, coarse, coarse, generator=generator) * 40
        image += torch.nn.functional.interpolate(noise, size=(side, side), mode="bilinear")
    pixels = (image + 128).clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous()
    grid = side // LOGIT_STRIDE
    box_mask = torch.zeros(count, grid, grid)
    box_mask[:, grid // 6 : -(grid // 6), grid // 6 : -(grid // 6)] = 1
    extent = torch.tensor([20.0, 60.0, 200.0]).repeat(count)[:count, None].repeat(1, 2)
    return BoxCropBatch(
        image=pixels,
        teacher_image=pixels.clone(),
        box_mask=box_mask,
        boxes_xyxy=torch.cat([torch.zeros(count, 2), extent], dim=1),
    )


def trainer_of(sizes: Sizes, config: MalConfig, where: torch.device) -> LabelerTrainer:
    """A trainer with the same weights on every device."""
    torch.manual_seed(0)
    labeler, _ = build_labeler(sizes.encoder, config)
    return LabelerTrainer(labeler, config, 0, Group(rank=0, world_size=1, device=where))


def measure_mode(sizes: Sizes, changes: dict[str, Any], peak: float) -> dict[str, Any]:
    """Steps/s, memory and share of the card's product rate of one precision."""
    config = sizes.config(**changes)
    trainer = trainer_of(sizes, config, device.DEVICE)
    batch = batch_of(config.batch_size, config.crop_size)
    if device.ON_GPU:
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    for _ in range(sizes.warm_up):
        trainer.train_step(batch)
    device.synchronize()
    warm_up = time.perf_counter() - started
    step = device.seconds(lambda: trainer.train_step(batch), sizes.steps, 0)
    memory = torch.cuda.max_memory_allocated() if device.ON_GPU else 0
    flops = None
    if not config.compile:
        with FlopCounterMode(display=False) as counter:
            trainer.train_step(batch)
        flops = counter.get_total_flops()
    return {
        "steps_per_s": 1 / step,
        "crops_per_s": config.batch_size / step,
        "warm_up_s": warm_up,
        "peak_memory_gb": memory / 1e9,
        "flops_per_step": flops,
        "share_of_bf16_peak": None if flops is None else flops / step / peak,
    }


def compare_losses(sizes: Sizes) -> dict[str, Any]:
    """Losses of the same first steps on the CPU in float32 and on the card; relative differences.

    Raises:
        AssertionError: They differ by more than rounding explains.
    """
    count, steps = sizes.compared
    found: dict[str, list[float]] = {}
    for precision, where in (
        ("cpu", torch.device("cpu")),
        ("fp32", device.DEVICE),
        ("bf16", device.DEVICE),
    ):
        config = sizes.config(precision=precision.replace("cpu", "fp32"), batch_size=count)
        trainer = trainer_of(sizes, config, where)
        trainer.step = config.max_steps // 2  # both losses at their full weight
        batches = [batch_of(count, config.crop_size, seed) for seed in range(steps)]
        found[precision] = [trainer.train_step(batch)["loss"] for batch in batches]
    result: dict[str, Any] = {"losses": found}
    for precision, bound in TOLERANCE.items():
        worst = max(
            abs(here - there) / there
            for here, there in zip(found[precision], found["cpu"], strict=True)
        )
        result[f"worst_difference_{precision}"] = worst
        assert worst <= bound, f"{precision}: {found} differ by {worst:.2g}, allowed {bound:g}"  # noqa: S101
    return result


def measure_mean_field(sizes: Sizes, bytes_per_s: float) -> dict[str, Any]:
    """100 iterations on the paper's grid, beside the bytes that one pass per iteration moves."""
    config = sizes.config()
    grid = config.crop_size // LOGIT_STRIDE
    batch = batch_of(config.batch_size, grid)
    image = (batch.image.permute(0, 3, 1, 2).float() / 58 - 2).to(device.DEVICE)
    generator = torch.Generator().manual_seed(0)
    prob = torch.rand(config.batch_size, grid, grid, generator=generator).to(device.DEVICE)
    box = torch.ones_like(prob)
    iterations = config.crf.iterations
    took = device.seconds(lambda: mean_field(image, prob, box, iterations=iterations))
    # Per iteration: four affinities, log-odds and log-box are read, log-odds are written.
    floor = iterations * 7 * 4 * prob.numel() / bytes_per_s
    with mock.patch("mal_core.training.losses.settle_in_graph", settle_step_by_step):
        stepwise = device.seconds(lambda: mean_field(image, prob, box, iterations=iterations))
    return {
        "ms": 1e3 * took,
        "stepwise_ms": 1e3 * stepwise,
        "roofline_ms": 1e3 * floor,
        "share_of_roofline": floor / took,
    }


def measure(sizes: Sizes) -> Iterator[tuple[str, Any]]:
    """Everything of phase 1, named; of the modes all that are known, each time anew."""
    if device.ON_GPU:  # the CPU's side of the comparison, with nothing beside it
        torch.set_num_threads(os.cpu_count() or 1)
    peak, bytes_per_s = device.matmul_rate(sizes.matmul_side), device.copy_rate()
    yield "bf16_peak_tflops", peak / 1e12
    yield "copy_gb_per_s", bytes_per_s / 1e9
    yield "comparison", compare_losses(sizes)
    yield "mean_field", measure_mean_field(sizes, bytes_per_s)
    modes, flops = {}, None
    for title, changes in MODES.items():
        if changes.get("compile") and not device.ON_GPU:
            continue  # minutes of compiling say nothing about a toy
        numbers = measure_mode(sizes, changes, peak)
        flops = numbers["flops_per_step"] or flops
        if numbers["share_of_bf16_peak"] is None and flops is not None:
            numbers["share_of_bf16_peak"] = flops * numbers["steps_per_s"] / peak
        modes[title] = numbers
        yield "modes", modes
        gc.collect()
        if device.ON_GPU:
            torch.cuda.empty_cache()
