"""A training that cannot learn any more is stopped; fp16's skipped steps are no divergence."""

import math

import pytest

from mal_core.errors import TrainingError
from mal_core.training.divergence import PATIENCE, DivergenceWatch
from tests.mal_core.drawn import tiny_mal


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_with_the_step_and_the_advice(loss):
    watch = DivergenceWatch(tiny_mal(precision="bf16"))
    watch.check_loss(6, 0.5)
    with pytest.raises(TrainingError, match=rf"step 7: the loss is {loss}.*learning_rate.*fp32"):
        watch.check_loss(7, loss)


def test_a_gradient_that_is_no_number_stops_at_once():
    with pytest.raises(TrainingError, match=r"step 3: the norm of the gradient is inf.*clip"):
        DivergenceWatch(tiny_mal()).check_gradient(3, math.inf)


def test_a_few_steps_that_fp16_skips_are_no_divergence_and_many_are():
    watch = DivergenceWatch(tiny_mal(precision="fp16"))
    for _ in range(3):
        for step in range(PATIENCE - 1):
            watch.check_gradient(step, math.inf)
        watch.check_gradient(PATIENCE, 1.0)
    for step in range(PATIENCE - 1):
        watch.check_gradient(step, math.nan)
    with pytest.raises(TrainingError, match="fp16 could represent no gradient"):
        watch.check_gradient(PATIENCE, math.nan)


def test_a_gradient_that_stays_zero_stops_the_run():
    watch = DivergenceWatch(tiny_mal())
    for step in range(PATIENCE - 1):
        watch.check_gradient(step, 0.0)
    with pytest.raises(TrainingError, match="zero for 50 steps"):
        watch.check_gradient(PATIENCE, 0.0)


def test_advice_names_only_what_can_help():
    watch = DivergenceWatch(tiny_mal(accumulate_steps=2, gradient_clip=3.0))
    with pytest.raises(TrainingError) as caught:
        watch.check_loss(0, math.nan)
    message = str(caught.value)
    assert "mal.scale_learning_rate=false" in message
    assert "lower (now 3) mal.gradient_clip" in message
    assert "fp32" not in message
