"""What pairs are compared with: the draw of references, the shuffle, and scores in parts."""

import numpy as np
import pytest

from safeclip_jax.auditing import detectors
from safeclip_jax.auditing.detectors import Chunk, Surroundings
from safeclip_jax.auditing.vectors import Vectors

SCALE = 9.0
BAD = np.array([0, 7, 33])


def unit(rng, *shape):
    x = rng.standard_normal(shape)
    return np.float32(x / np.linalg.norm(x, axis=-1, keepdims=True))


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    usable = np.ones(60, bool)
    usable[BAD] = False
    return Vectors(unit(rng, 60, 5), unit(rng, 60, 5), usable)


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(detectors, "REFERENCES", 20)
    monkeypatch.setattr(detectors, "NEIGHBORS", 4)
    monkeypatch.setattr(detectors, "AT_ONCE", 16)


def test_references_are_drawn_among_usable_pairs_by_the_seed(few, vectors, mesh):
    drawn = [Surroundings.draw(vectors, SCALE, seed, mesh) for seed in range(30)]
    for around in drawn:
        numbers = around.images.numbers
        assert len(numbers) == 20 and (np.diff(numbers) > 0).all()
        np.testing.assert_array_equal(around.texts.numbers, numbers)
        np.testing.assert_array_equal(around.images.points, vectors.images[numbers])
        np.testing.assert_array_equal(around.texts.points, vectors.texts[numbers])
        assert (around.images.k, around.texts.k, around.scale) == (4, 4, SCALE)
    seen = np.unique(np.concatenate([around.images.numbers for around in drawn]))
    np.testing.assert_array_equal(seen, np.flatnonzero(vectors.usable))
    again = Surroundings.draw(vectors, SCALE, 3, mesh)
    np.testing.assert_array_equal(again.images.numbers, drawn[3].images.numbers)


def test_a_few_pairs_are_all_references_and_have_fewer_neighbours(vectors, mesh):
    usable = np.zeros(60, bool)
    usable[[3, 9, 20]] = True
    around = Surroundings.draw(Vectors(vectors.images, vectors.texts, usable), SCALE, 0, mesh)
    assert around.images.numbers.tolist() == [3, 9, 20] and around.images.k == 2
    assert around.images.neighbors(vectors.images[:1], np.array([0])).indices.shape == (1, 2)
    whole = Surroundings.draw(vectors, SCALE, 0, mesh)
    assert len(whole.images.numbers) == 57 and whole.images.k == 16
    assert (detectors.NEIGHBORS, detectors.REFERENCES) == (16, 8192)


def test_scores_in_parts_are_those_of_each_pair_and_bad_pairs_have_none(
    few, vectors, mesh, monkeypatch
):
    heard = []
    monkeypatch.setattr(detectors, "DETECTORS", {"number": lambda c: c.of_images + 0.5,
                                                 "text": lambda c: c.texts[:, 0]})  # fmt: skip
    around = Surroundings.draw(vectors, SCALE, 0, mesh)
    found = around.scores(lambda done, total: heard.append((done, total)))
    assert heard == [(16, 60), (32, 60), (48, 60), (60, 60)]
    expected = np.arange(60) + 0.5
    expected[BAD] = np.nan
    np.testing.assert_array_equal(found["number"], expected)
    np.testing.assert_array_equal(found["text"], np.where(vectors.usable, vectors.texts[:, 0],
                                                          np.nan))  # fmt: skip
    assert found["number"].dtype == np.float32


@pytest.mark.parametrize("most", [20_000, 21])
def test_shuffled_pairs_are_images_under_captions_of_others(most, few, vectors, mesh, monkeypatch):
    monkeypatch.setattr(detectors, "SHUFFLED", most)
    asked = []

    def noting(chunk):
        asked.append(chunk)
        return chunk.of_images.astype(np.float32)

    names = detectors.CROSS_MODAL
    monkeypatch.setattr(detectors, "DETECTORS", dict.fromkeys(names, noting))
    seeds = {}
    for seed in (0, 1):
        asked.clear()
        found = Surroundings.draw(vectors, SCALE, seed, mesh).shuffled()
        chunks = asked[: len(asked) // len(names)]  # of the first detector
        images = np.concatenate([chunk.of_images for chunk in chunks])
        texts = np.concatenate([chunk.of_texts for chunk in chunks])
        assert len(images) == min(most, 57) and (np.diff(images) > 0).all()
        assert vectors.usable[images].all() and (images != texts).all()
        np.testing.assert_array_equal(np.sort(texts), images)
        assert found.keys() == set(names)
        for values in found.values():
            np.testing.assert_array_equal(values, images)
        assert max(len(chunk.of_images) for chunk in asked) <= 16
        seeds[seed] = images
    assert (most > 57) == np.array_equal(seeds[0], seeds[1])


def test_the_similarity_of_a_chunk_is_of_its_images_and_texts(few, vectors, mesh):
    around = Surroundings.draw(vectors, SCALE, 0, mesh)
    chunk = Chunk(around, np.array([1, 5]), np.array([9, 2]))
    expected = -np.sum(vectors.images[[1, 5]] * vectors.texts[[9, 2]], axis=1)
    np.testing.assert_allclose(detectors.similarity(chunk), expected, rtol=1e-6)
    near = around.texts.points[around.images.neighbors(chunk.images, chunk.of_images).indices]
    mean = near.mean(axis=1)
    expected = 1 - np.sum(chunk.texts * mean, axis=1) / np.linalg.norm(mean, axis=1)
    found = detectors.captions_of_alike_images(chunk)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    near = around.images.points[around.texts.neighbors(chunk.texts, chunk.of_texts).indices]
    mean = near.mean(axis=1)
    expected = 1 - np.sum(chunk.images * mean, axis=1) / np.linalg.norm(mean, axis=1)
    found = detectors.images_of_alike_captions(chunk)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_neighbours_that_cancel_agree_with_nothing():
    others = np.array([[[1.0, 0], [-1, 0]]])
    assert detectors._disagreement(np.array([[1.0, 0]]), others) == [1.0]


def test_the_probability_of_the_own_partner_is_among_references_and_itself(few, vectors, mesh):
    """Pairs before, between, among and behind the references; each direction against NumPy."""
    around = Surroundings.draw(vectors, SCALE, 1, mesh)
    numbers = np.arange(60)
    found = around.log_probability(vectors.images, vectors.texts, numbers)
    assert {0, 59} - set(around.images.numbers)
    for i in numbers:
        others = around.images.numbers[around.images.numbers != i]
        total = 0.0
        for one, other in ((vectors.images, vectors.texts), (vectors.texts, vectors.images)):
            logits = SCALE * np.float64(other[[i, *others]] @ one[i])
            total += logits[0] - np.log(np.exp(logits).sum())
        assert found[i] == pytest.approx(total / 2, rel=1e-4)
