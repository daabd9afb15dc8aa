"""Pilot epochs in the train loop: forgotten but for their pools, and safe from kills."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from safeclip_jax.defenses import pool_files
from safeclip_jax.defenses.defense import SafePool, Stage
from safeclip_jax.objectives.clip import CLIP
from safeclip_jax.runs import settings
from safeclip_jax.training import trainer as trainers
from safeclip_jax.training.experiment import build
from safeclip_jax.training.schedule import Schedule


def test_the_rate_rises_as_long_as_the_defence_or_the_schedule_says(pilot):
    pilot.optimizer.learning_rate, pilot.optimizer.warmup_pairs = 1.0, 500
    safe, pairs = Stage("safe", CLIP, SafePool(), True), 800
    rates = {}
    for rising in (0.0, 0.5):
        pilot.safeclip_plus.rising_epochs = rising
        schedule = Schedule.of(settings.of(pilot), 400)
        rates[rising] = [float(schedule.rate(safe.learning_rate, n)) for n in (250, pairs)]
        assert schedule.rate(0.25, pairs) == 0.25
    np.testing.assert_allclose(rates[0.0], [0.5, 0.0], atol=1e-6)
    np.testing.assert_allclose(rates[0.5], [0.3125, 1.0], atol=1e-6)


class Learner(trainers.Trainer):
    """A trainer whose stages add 1 to every parameter, and skip a step."""

    def _stage(self, *_):
        learnt = jax.tree.map(lambda x: x + 1, self.state.params)
        self.state = self.state.replace(params=learnt, skipped=self.state.skipped + 1)


@pytest.fixture
def pilot(config):
    config.defense, config.epochs = "safeclip_plus", 2
    return config


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_the_pilot_is_forgotten_but_for_its_pools_also_by_a_run_that_was_killed(pilot, tmp_path):
    experiment = build(pilot, tmp_path)
    first = Learner(experiment, tmp_path)
    initial = first.state
    once = jax.tree.map(lambda x: x + 1, initial.params)
    first._epoch(0)
    first.close()
    same(first.state.params, once)
    for _ in range(2):  # the second time from the same checkpoint, with pools that are there
        resumed = Learner(experiment, tmp_path)
        assert resumed.position.epoch == 1
        same(resumed.state.params, once)
        resumed._epoch(1)
        same(resumed.state.params, once)
        same(resumed.state.opt_state, initial.opt_state)
        assert int(resumed.state.skipped) == 2
        assert len(pool_files.load(pool_files.path(tmp_path, 1)).safe) == 340
        resumed.close()

    begun = replace(resumed.position, epoch=1, step=2, pools=resumed.pools.digest)
    resumed.position = begun
    resumed._epoch(1)
    same(resumed.state.params, jax.tree.map(lambda x: x + 1, once))
