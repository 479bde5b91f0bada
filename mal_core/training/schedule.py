"""What the steps of phase 1 see: their crops, the learning rate, the weights of the losses."""

import math

from mal_core.config import MalConfig
from mal_core.processes.ranks import Group


def peak_rate(config: MalConfig, world_size: int) -> float:
    """The configured rate, times the growth of the batch over processes and accumulation."""
    growth = batches_per_step(config, world_size) if config.scale_learning_rate else 1
    return config.learning_rate * growth


def batches_per_step(config: MalConfig, world_size: int) -> int:
    """Batches that all processes together see in one optimiser step."""
    return config.accumulate_steps * world_size


def crops_per_step(config: MalConfig, world_size: int) -> int:
    """Crops of these batches."""
    return config.batch_size * batches_per_step(config, world_size)


def batch_numbers(config: MalConfig, group: Group, first_step: int, end_step: int) -> range:
    """Which batches of the endless sequence this process sees, `accumulate_steps` per step.

    Batch n holds the crops at n * batch_size and after, so the processes of a step see
    together what one process with a larger batch would see.
    """
    per_step = batches_per_step(config, group.world_size)
    first, end = first_step * per_step + group.rank, end_step * per_step
    return range(first, end, group.world_size)


def learning_rate_at(step: int, config: MalConfig, world_size: int = 1) -> float:
    """Linear warm-up, then cosine to `final_rate` (spec section 5); set before the step.

    Each round of self-training runs through both again.

    Under `compat_official` it is set after the step, as in the reference: step 0 runs at
    the full rate and step 1 at none (spec Q6).
    """
    peak = peak_rate(config, world_size)
    length = config.max_steps
    if step >= length and config.self_training.rounds:
        step, length = (step - length) % config.round_steps, config.round_steps
    done = step + 1
    if config.compat_official:
        if step == 0:
            return peak
        step, done = step - 1, step - 1
    warmup = config.warmup * length
    if step < warmup:
        return peak * done / warmup
    phase = (step - warmup) / max(length - warmup, 1)
    cosine = 0.5 * (1 + math.cos(math.pi * min(phase, 1.0)))
    return peak * (config.final_rate + (1 - config.final_rate) * cosine)


def ramp(step: int, share: float, max_steps: int) -> float:
    """Weight of a loss during its warm-up, from 0 to 1 over `share` of the run (spec 4.3)."""
    length = share * max_steps
    return 1.0 if step >= length else step / length
