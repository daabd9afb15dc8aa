"""The learning rate against Optax' schedule, and whose rate counts."""

import numpy as np
import optax
import pytest

import safeclip_jax
from safeclip_jax.runs import settings
from safeclip_jax.training.schedule import Schedule, scheduled


@pytest.mark.parametrize("peak, warmup, total", [(2.0, 100, 1100), (1e-3, 0, 50), (0.5, 30, 30)])
def test_the_rate_is_optaxs_linear_warm_up_and_cosine(peak, warmup, total):
    rise = optax.linear_schedule(0.0, peak, warmup) if warmup else None
    fall = optax.cosine_decay_schedule(peak, max(total - warmup, 1))
    schedule = Schedule(peak, warmup, total)
    for seen in (0, warmup // 2, warmup - 1, warmup, warmup + 1, (warmup + total) // 2, total):
        seen = min(max(seen, 0), total)
        expected = rise(seen) if rise and seen < warmup else fall(seen - warmup)
        assert scheduled(seen, total, peak, warmup) == pytest.approx(float(expected), abs=1e-6)
        assert schedule.rate(None, seen) == np.float32(scheduled(seen, total, peak, warmup))


def test_the_rate_stays_at_zero_after_the_end_and_rises_until_then_in_a_short_run():
    assert scheduled(1300, 1100, 2.0, 100) == pytest.approx(0, abs=1e-12)
    assert scheduled(30, 40, 2.0, 1000) == pytest.approx(1.5)
    assert scheduled(40, 40, 2.0, 1000) == pytest.approx(2.0)
    # One pair after the warm-up that ends with the run: the cosine is over one pair, not none.
    assert scheduled(41, 40, 2.0, 1000) == pytest.approx(0, abs=1e-12)


def test_a_stage_has_its_own_rate_also_where_it_is_zero():
    for rate in (0.25, 0.0):
        found = Schedule(2.0, 100, 1100).rate(rate, 500)
        assert found == np.float32(rate) and found.dtype == np.float32


def test_a_run_warms_up_for_what_is_longer_its_own_pairs_or_its_defences_epochs():
    config = settings.defaults()
    config.optimizer.learning_rate, config.optimizer.warmup_pairs, config.epochs = 0.125, 900, 7
    config.defense = "safeclip_plus"
    for rising, warmup in ((0.0, 900), (1.0, 1200), (0.1, 900)):
        config.safeclip_plus.rising_epochs = rising  # after one pilot epoch and one slow one
        found = Schedule.of(settings.of(config), 400)
        assert (found.peak, found.warmup, found.total) == (0.125, warmup, 2800)


def test_a_model_that_is_forgotten_has_a_schedule_of_its_own():
    schedule = Schedule(2.0, 100, 1000, forgotten=400)
    alone, after = Schedule(2.0, 100, 400), Schedule(2.0, 100, 600)
    for seen in (0, 50, 100, 250, 399):
        assert schedule.rate(None, seen) == alone.rate(None, seen)
    for seen in (400, 450, 500, 900, 1000):
        assert schedule.rate(None, seen) == after.rate(None, seen - 400)
    config = safeclip_jax.config("demo")
    config.defense = "clipscore"
    assert Schedule.of(settings.of(config), 12_000).forgotten == 12_000
    config.clipscore.model = "runs/other"
    assert Schedule.of(settings.of(config), 12_000).forgotten == 0
