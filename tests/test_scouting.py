"""Scouting epochs in whole runs: forgotten but for their pools, and safe from kills."""

import jax
import numpy as np
import pytest

from safeclip_jax import pools, train
from safeclip_jax.checkpoint import read_variables
from safeclip_jax.experiment import build


@pytest.fixture
def scouting(config):
    config.defense, config.epochs = "safeclip_plus", 2
    config.safeclip_plus.scout_epochs = 1
    return config


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_scouting_is_forgotten_but_for_its_pools(scouting, tmp_path):
    trainer = train.Trainer(build(scouting, tmp_path), tmp_path)
    initial = trainer.state

    def learn(*_):
        learnt = jax.tree.map(lambda x: x + 1, trainer.state.params)
        trainer.state = trainer.state.replace(params=learnt, skipped=trainer.state.skipped + 1)

    trainer._stage = learn
    for epoch in range(2):
        trainer._epoch(epoch)
    trainer.close()
    same(trainer.state.params, jax.tree.map(lambda x: x + 1, initial.params))
    same(trainer.state.opt_state, initial.opt_state)
    assert int(trainer.state.skipped) == 2
    assert len(pools.load(pools.path(tmp_path, 1)).safe) == 340


def test_a_run_killed_after_scouting_goes_on_to_the_same_end(scouting, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train.run(scouting, whole)
    for minutes, step in ((30, 3), (0, 5)):  # the checkpoint is of before the restart, and after

        def kill(progress, step=step):
            if progress == f"epoch 2, slow start step {step}":
                raise KeyboardInterrupt

        scouting.checkpoint_minutes = minutes
        with pytest.raises(KeyboardInterrupt):
            train.run(scouting, killed, kill)
    train.run(scouting, killed)
    same(read_variables(whole), read_variables(killed))
    a, b = (pools.load(pools.path(run, 1)) for run in (whole, killed))
    assert a.digest() == b.digest()
