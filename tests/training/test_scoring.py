"""How far every pair's image is from others, against scikit-learn on embeddings of one batch."""

import itertools
import signal
from dataclasses import replace

import jax
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

import safeclip_jax
from safeclip_jax.checkpoints import variables
from safeclip_jax.data import augment_text
from safeclip_jax.data.augment_image import augment
from safeclip_jax.data.pipeline import Loader
from safeclip_jax.defenses import pool_files
from safeclip_jax.system.signals import Interrupted
from safeclip_jax.training import loop, score_memory, scoring
from safeclip_jax.training import metrics as run_metrics
from safeclip_jax.training import trainer as trainers
from safeclip_jax.training.experiment import build
from safeclip_jax.weights.write import write
from tests.data.test_sources import bad_csv
from tests.support import every_stage
from tests.support.small_model import SmallModel, embedded, small
from tests.weights.test_weights import random_model


def with_state(config):
    """The run of a small model, and a state."""
    x = build(config)
    x = replace(x, steps=replace(x.steps, model=SmallModel(small(x.steps.model.config))))
    return x, x.steps.init(8)


def vectors_of(x, state):
    """Of all images and captions, float64."""
    config = x.steps.model.config
    images = (x.loader.images(x.pairs)[0] / 255 - np.array(config.mean)) / np.array(config.std)
    params = {key: np.float64(value) for key, value in state.params["params"].items()}
    image, text, _ = embedded(params, images, x.tokenizer.encode(x.source.captions), 0)
    return image, text


def test_distances_are_those_to_the_fourth_nearest_other():
    config = safeclip_jax.config("demo")
    config.model.preset, config.data.pairs, config.score.batch_size = "nano", 300, 128
    x, state = with_state(config)
    found = scoring.distances(x, state, epoch=2)
    points, _ = vectors_of(x, state)
    near = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(points)
    expected, _ = near.kneighbors(points)
    assert expected[:, 4].std() > 0.01
    np.testing.assert_allclose(found, expected[:, 4], atol=1e-5)
    strange = int(np.argmax(found))
    assert found[strange] == scoring.distances(x, state, epoch=7)[strange]  # all are drawn


@pytest.fixture
def asked(monkeypatch):
    """Which pairs are read, in their order, a list for each pass over them."""
    noted, read = [], Loader.scoring_batches

    def noting(loader, pairs, batch, view):
        noted.append(np.array(pairs))
        return read(loader, pairs, batch, view)

    monkeypatch.setattr(Loader, "scoring_batches", noting)
    return noted


def test_scores_are_cosines_of_all_pairs_in_an_order_of_their_seed_and_epoch(asked, monkeypatch):
    config = safeclip_jax.config("demo")
    config.model.preset, config.data.pairs, config.score.batch_size = "nano", 300, 128
    config.score.kind = "cosine"
    x, state = with_state(config)
    heard = []
    found = scoring.scores(x, state, 2, False, heard.append)
    image, text = vectors_of(x, state)
    expected = np.sum(image * text, axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.dtype == np.float32 and set(heard) == {"epoch 3, scoring"} and len(heard) == 3
    # Pairs with a remembered score keep it, and the others are scored in the same order.
    memory = score_memory.empty(300).at[jax.numpy.arange(0, 300, 3)].set(7.0)
    state = state.replace(remembered=memory)
    again = scoring.scores(x, state, 2, True, heard.append)
    known = np.arange(300) % 3 == 0
    assert (again[known] == 7).all()
    np.testing.assert_allclose(again[~known], expected[~known], atol=1e-5)
    np.testing.assert_array_equal(asked[1], asked[0][~known[asked[0]]])
    anew = scoring.scores(x, state, 3, False, heard.append)
    np.testing.assert_allclose(anew, expected, atol=1e-5)
    other = replace(x, config=replace(x.config, seed=x.config.seed + 1))
    scoring.scores(other, state, 3, False, heard.append)
    orders = [asked[i] for i in (0, 2, 3)]
    assert all(sorted(order) == list(range(300)) for order in orders)
    assert all((one != two).mean() > 0.9 for one, two in itertools.combinations(orders, 2))


def test_scores_by_another_model(tmp_path):
    """Cosines by an exported model with a tokenizer and a size of its own."""
    write(random_model("vit_nano8", 16), tmp_path / "other", "native")
    config = safeclip_jax.config("demo")
    config.model.preset, config.data.pairs, config.score.batch_size = "nano", 300, 128
    config.defense, config.clipscore.model = "clipscore", str(tmp_path / "other")
    x, state = with_state(config)
    heard = []
    found = scoring.scores(x, state, 0, False, heard.append)
    other = safeclip_jax.load(tmp_path / "other")
    images = other.embed_images([x.source.image(i) for i in range(300)])
    texts = other.embed_texts([*x.source.captions])
    np.testing.assert_allclose(found, np.sum(images * texts, axis=1), atol=1e-5)
    assert heard == ["epoch 1, scoring"] and found.std() > 1e-4


def test_scores_of_augmented_views():
    """As the plain model scores what the device and the captions' augmentation make."""
    config = safeclip_jax.config("demo")
    config.model.preset, config.data.pairs, config.score.batch_size = "nano", 300, 128
    config.defense, config.score.kind = "published", "cosine"
    x, state = with_state(config)
    found = scoring.scores(x, state, 2, False, lambda word: None)
    np.testing.assert_array_equal(found, scoring.scores(x, state, 2, False, lambda word: None))
    key = jax.random.key(x.config.seed)
    for number in (2, 99):
        key = jax.random.fold_in(key, number)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(x.pairs)
    images = augment(x.loader.images(x.pairs)[0] / np.float32(255), keys, x.config.augment)
    pixels = np.rint(np.asarray(images) * 255) / 255
    texts = [
        augment_text.augment(caption, augment_text.random_of(x.config.seed, 2, 99, 0, i))
        for i, caption in enumerate(x.source.captions)
    ]
    shape = x.steps.model.config
    normal = (pixels - np.array(shape.mean)) / np.array(shape.std)
    params = {key: np.float64(value) for key, value in state.params["params"].items()}
    image, text, _ = embedded(params, normal, x.tokenizer.encode(texts), 0)
    np.testing.assert_allclose(found, np.sum(image * text, axis=1), atol=1e-4)
    plain = replace(x, config=replace(x.config, defense="safeclip"))
    assert np.abs(found - scoring.scores(plain, state, 2, False, lambda word: None)).max() > 0.01


def test_distances_are_to_pairs_drawn_by_seed_and_epoch(asked, monkeypatch):
    monkeypatch.setattr(scoring, "_REFERENCE", 50)
    config = safeclip_jax.config("demo")
    config.model.preset, config.data.pairs, config.score.batch_size = "nano", 300, 128
    x, state = with_state(config)
    other = replace(x, config=replace(x.config, seed=x.config.seed + 1))
    heard = []
    found = [scoring.distances(x, state, epoch, heard.append) for epoch in (2, 2, 3)]
    scoring.distances(other, state, 2, heard.append)
    np.testing.assert_array_equal(found[0], found[1])
    drawn, read = asked[::2], asked[1::2]
    assert all(np.array_equal(pairs, x.pairs) for pairs in read)
    assert all(len(pairs) == 50 and (np.diff(pairs) > 0).all() for pairs in drawn)
    np.testing.assert_array_equal(drawn[0], drawn[1])
    for one, two in itertools.combinations((drawn[0], drawn[2], drawn[3]), 2):
        assert 0 < np.isin(one, two).sum() < 25  # a sixth of them by chance
    assert set(heard) == {"epoch 3, distances", "epoch 4, distances"}


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


@pytest.mark.by_hand
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
