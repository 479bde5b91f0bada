"""Stop a training that can no longer learn, and say what to lower."""

import math

from mal_core.config import MalConfig
from mal_core.errors import TrainingError

DEAD_GRADIENT = 1e-6
"""Norm under which nothing is learned; healthy trainings have 0.1 to 10."""
PATIENCE = 50
"""Steps in a row without a usable gradient; fp16's scaler needs about 20 to find its scale."""


class DivergenceWatch:
    """Knows a diverged training by its loss and by its gradient.

    All losses of MAL are bounded, so a network that was thrown off shows no exploding loss:
    its probabilities are exactly 0 and 1, and its gradient is zero for ever after.

    Nothing of this is part of a saved state: a resumed run counts steps anew.
    """

    def __init__(self, config: MalConfig) -> None:
        self.config = config
        self.dead_steps = 0

    def check_loss(self, step: int, loss: float) -> None:
        """Look at the loss of a step, before its gradient is applied.

        Raises:
            TrainingError: It is not finite.
        """
        if not math.isfinite(loss):
            raise self._error(step, f"the loss is {loss}")

    def check_gradient(self, step: int, norm: float) -> None:
        """Look at the norm of a step's gradient, before it is applied.

        Raises:
            TrainingError: It is not finite, or no gradient was usable for PATIENCE steps.
        """
        finite = math.isfinite(norm)
        if not finite and self.config.precision != "fp16":  # its scaler skips such a step
            raise self._error(step, f"the norm of the gradient is {norm}")
        self.dead_steps = 0 if finite and norm > DEAD_GRADIENT else self.dead_steps + 1
        if self.dead_steps < PATIENCE:
            return
        if finite:
            seen = f"the gradient has been zero for {PATIENCE} steps (the network is saturated)"
        else:
            seen = f"fp16 could represent no gradient of the last {PATIENCE} steps"
        raise self._error(step, seen)

    def _error(self, step: int, seen: str) -> TrainingError:
        config = self.config
        clip = "set" if config.gradient_clip is None else f"lower (now {config.gradient_clip:g})"
        advice = [f"lower mal.learning_rate (now {config.learning_rate:g})"]
        if config.scale_learning_rate and config.accumulate_steps > 1:
            advice.append("or set mal.scale_learning_rate=false")
        advice.append(f"{clip} mal.gradient_clip")
        if config.precision != "fp32":
            advice.append(f"use mal.precision=fp32 (now {config.precision})")
        return TrainingError(f"phase 1 diverged at step {step}: {seen}. Try: {', '.join(advice)}.")
