"""Learning rate and loss weights over the steps."""

import pytest

from mal_core.training.schedule import learning_rate_at, peak_rate, ramp
from tests.mal_core.drawn import tiny_mal


def test_the_rate_rises_to_its_peak_and_ends_at_its_final_share():
    config = tiny_mal(max_steps=100, learning_rate=1.0, warmup=0.1, final_rate=0.2)
    rates = [learning_rate_at(step, config) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.6)
    assert rates[100] == pytest.approx(0.2)
    assert max(rates) <= 1.0


def test_a_loss_ramps_up_and_stays():
    assert [ramp(step, 0.5, 8) for step in (0, 1, 4, 7)] == [0.0, 0.25, 1.0, 1.0]
    assert ramp(0, 0.0, 8) == 1.0


def test_the_rate_grows_with_the_batch_of_a_step():
    config = tiny_mal(learning_rate=1e-3, accumulate_steps=2)
    assert peak_rate(config, world_size=3) == pytest.approx(6e-3)
    kept = tiny_mal(learning_rate=1e-3, accumulate_steps=2, scale_learning_rate=False)
    assert peak_rate(kept, world_size=3) == pytest.approx(1e-3)


def test_the_published_schedule_has_the_published_values():
    """Spec S14: 8 GPUs with 4 crops, ten epochs, one of them warm-up."""
    epoch = 100
    config = tiny_mal(
        max_steps=10 * epoch, learning_rate=1.5e-6 * 4, warmup=0.1, final_rate=0.2, batch_size=4
    )
    rate = [learning_rate_at(step, config, world_size=8) for step in range(10 * epoch + 1)]
    assert rate[0] < 0.02 * 4.8e-5
    assert rate[epoch] == pytest.approx(4.8e-5)
    assert rate[int(5.5 * epoch)] == pytest.approx(2.88e-5, rel=1e-3)
    assert rate[10 * epoch] == pytest.approx(9.6e-6, rel=1e-3)


def test_compat_official_starts_at_the_full_rate_and_then_at_none():
    config = tiny_mal(max_steps=100, learning_rate=1.0, compat_official=True)
    rates = [learning_rate_at(step, config) for step in range(4)]
    assert rates == pytest.approx([1.0, 0.0, 0.1, 0.2])
