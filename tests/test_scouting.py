"""Scouting epochs in the train loop: forgotten but for their pools, and safe from kills."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from safeclip_jax.defenses import pools
from safeclip_jax.defenses.defense import Stage
from safeclip_jax.training import loop
from safeclip_jax.training.experiment import build


def test_the_rate_rises_as_long_as_the_defence_or_the_schedule_says(scouting, tmp_path):
    scouting.optimizer.learning_rate, scouting.optimizer.warmup_pairs = 1.0, 500
    safe, pairs = Stage("safe", "clip", np.arange(4), True), 800
    rates = {}
    for rise in (0.0, 0.5):
        scouting.safeclip_plus.rise_epochs = rise
        trainer = Learner(build(scouting, tmp_path / str(rise)), tmp_path / str(rise))
        assert len(trainer.x.source) == 400
        rates[rise] = [float(trainer.learning_rate(safe, n)) for n in (250, pairs)]
        assert trainer.learning_rate(replace(safe, learning_rate=0.25), pairs) == 0.25
        trainer.close()
    np.testing.assert_allclose(rates[0.0], [0.5, 0.0], atol=1e-6)
    np.testing.assert_allclose(rates[0.5], [0.3125, 1.0], atol=1e-6)


class Learner(loop.Trainer):
    """A trainer whose stages add 1 to every parameter, and skip a step."""

    def _stage(self, *_):
        learnt = jax.tree.map(lambda x: x + 1, self.state.params)
        self.state = self.state.replace(params=learnt, skipped=self.state.skipped + 1)


@pytest.fixture
def scouting(config):
    config.defense, config.epochs = "safeclip_plus", 2
    config.safeclip_plus.scout_epochs = 1
    return config


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_scouting_is_forgotten_but_for_its_pools_also_by_a_run_that_was_killed(scouting, tmp_path):
    experiment = build(scouting, tmp_path)
    scout = Learner(experiment, tmp_path)
    initial = scout.state
    once = jax.tree.map(lambda x: x + 1, initial.params)
    scout._epoch(0)
    scout.close()
    same(scout.state.params, once)
    for _ in range(2):  # the second time from the same checkpoint, with pools that are there
        resumed = Learner(experiment, tmp_path)
        assert resumed.position.epoch == 1
        same(resumed.state.params, once)
        resumed._epoch(1)
        same(resumed.state.params, once)
        same(resumed.state.opt_state, initial.opt_state)
        assert int(resumed.state.skipped) == 2
        assert len(pools.load(pools.path(tmp_path, 1)).safe) == 340
        resumed.close()

    begun = replace(resumed.position, epoch=1, step=2, pools=resumed.pools.digest())
    resumed.position = begun
    resumed._epoch(1)
    same(resumed.state.params, jax.tree.map(lambda x: x + 1, once))
