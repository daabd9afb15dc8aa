"""How far every pair's image is from others, against scikit-learn on embeddings of one batch."""

import signal

import jax
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

import safeclip_jax
from safeclip_jax.checkpoints import variables
from safeclip_jax.defenses import pool_files
from safeclip_jax.system.signals import Interrupted
from safeclip_jax.training import loop, scoring
from safeclip_jax.training import metrics as run_metrics
from safeclip_jax.training import trainer as trainers
from safeclip_jax.training.experiment import build
from tests.data.test_sources import bad_csv
from tests.support import every_stage


def with_state(config):
    x = build(config)
    return x, x.initial_state()


def test_distances_are_those_to_the_fourth_nearest_other():
    config = safeclip_jax.config("demo")
    config.model.preset, config.data.pairs, config.score.batch_size = "nano", 300, 128
    x, state = with_state(config)
    found = scoring.distances(x, state, epoch=2)
    images, _ = x.loader.images(x.pairs)
    inputs = x.steps.model.config.normalize(images.astype(np.float32) / 255)
    points = x.steps.model.apply(state.variables, inputs, method="embed_images")
    near = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(np.float64(points))
    expected, _ = near.kneighbors(np.float64(points))
    assert expected[:, 4].std() > 0.01
    np.testing.assert_allclose(found, expected[:, 4], atol=1e-5)
    strange = int(np.argmax(found))
    assert found[strange] == scoring.distances(x, state, epoch=7)[strange]  # all are drawn


def test_pairs_that_cannot_be_read_have_no_distance(tmp_path):
    table, _ = bad_csv(tmp_path)
    x, state = with_state(every_stage.get_config(table))
    _, bad = x.loader.images(x.pairs)
    assert 0 < len(bad) < len(x.pairs)
    found = scoring.distances(x, state, epoch=2)
    assert set(np.flatnonzero(np.isnan(found))) == set(bad)


def test_too_few_pairs_have_no_distances():
    config = safeclip_jax.config("demo")
    config.model.preset, config.data.pairs, config.score.batch_size = "nano", 4, 8
    config.attack.rate = 0.0
    x, state = with_state(config)
    assert np.isnan(scoring.distances(x, state, epoch=2)).all()


@pytest.mark.slow
def test_remembered_scores_outlive_a_stop(config, tmp_path, monkeypatch):
    """A run that stops in an epoch whose scores the next one reuses ends as one that did not."""
    config.score.reuse, config.epochs, config.attack.rate = True, 3, 0.0
    config.safeclip.warmup_epochs, config.safeclip.growth = 0, 0.5
    config.evaluate.source = ""
    loop.run(config, tmp_path / "whole")
    advance = trainers.Trainer._advance

    def stopping(trainer, **changes):
        advance(trainer, **changes)
        if changes.get("total_steps") == 8:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(trainers.Trainer, "_advance", stopping)
        with pytest.raises(Interrupted):
            loop.run(config, tmp_path / "stopped")
    loop.run(config, tmp_path / "stopped")
    runs = [tmp_path / "whole", tmp_path / "stopped"]
    lines = run_metrics.read(runs[1] / "metrics.jsonl")
    assert [line["epoch"] for line in lines if line.get("step") == 8 and "loss" in line] == [1]
    for epoch in (1, 2):
        one, other = (pool_files.load(pool_files.path(run, epoch)) for run in runs)
        np.testing.assert_array_equal(one.scores, other.scores)
        assert one.digest() == other.digest()
    jax.tree.map(np.testing.assert_array_equal, *map(variables.read_variables, runs))
