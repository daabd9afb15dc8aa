"""How far every pair's image is from others, against scikit-learn on embeddings of one batch."""

import numpy as np
from sklearn.neighbors import NearestNeighbors

from configs import demo
from safeclip_jax import scoring
from safeclip_jax.experiment import build
from tests import every_stage
from tests.test_sources import bad_csv


def with_state(config):
    x = build(config)
    return x, x.steps.init(config.unimodal.bank_size, config.batch_size)


def test_distances_are_those_to_the_fourth_nearest_other():
    config = demo.get_config()
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
    config = demo.get_config()
    config.model.preset, config.data.pairs, config.score.batch_size = "nano", 4, 8
    config.attack.rate = 0.0
    x, state = with_state(config)
    assert np.isnan(scoring.distances(x, state, epoch=2)).all()
