"""Linear probe and k-NN against scikit-learn alone."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from safeclip_jax.errors import UserError
from safeclip_jax.evaluation import knn, linear_probe
from safeclip_jax.neighbors import nearest as search
from tests.support.embedded import Pictures, fake_source

DEVICES = 8


def everything(noise=1.6):
    source, embed_images, embed_texts = fake_source(5, 60, learn=150, noise=noise)
    learn = source.to_learn()[0]
    return source, embed_images, embed_texts, embed_images(learn).vectors, learn.labels


def test_the_probe_is_scikit_learns_at_the_best_validated_strength(mesh):
    source, embed_images, embed_texts, vectors, labels = everything()
    found = linear_probe.evaluate(embed_images, embed_texts, source, mesh)
    model = LogisticRegression(C=found["linear_probe_C"], max_iter=1000).fit(vectors, labels)
    test = embed_images(source.images).vectors
    assert found["linear_probe_accuracy"].count == np.sum(
        model.predict(test) == source.images.labels
    )
    assert 0.3 < found["linear_probe_accuracy"].value < 1


@pytest.mark.parametrize("peak", [0, 3, 41, 64, 96])
def test_the_search_finds_the_best_strength(peak):
    tried = []

    def accuracy(strength):
        tried.append(strength)
        return -abs(np.log10(strength) - np.log10(linear_probe.inverse_regularization(peak)))

    assert linear_probe.search(accuracy) == peak
    assert len(tried) == len(set(tried)) <= 15
    assert linear_probe.search(lambda strength: 0.5) == 0


def test_strengths_are_eighths_of_decades_and_every_two_decades_come_first():
    numbers = range(97)
    found = [linear_probe.inverse_regularization(number) for number in numbers]
    np.testing.assert_allclose(found, np.logspace(-6, 6, 97), rtol=1e-12)
    tried = []

    def accuracy(strength):
        tried.append(round(8 * np.log10(strength)))
        return -abs(tried[-1] - 11)

    linear_probe.search(accuracy)
    # … and then both sides of the best at a decade, half a decade, a quarter and an eighth.
    assert tried == [-48, -32, -16, 0, 16, 32, 48, 8, 24, 4, 12, 10, 14, 9, 11]


def test_the_strength_is_the_best_on_validation_images_by_a_model_of_the_others(mesh):
    source, embed_images, embed_texts = fake_source(5, 60, learn=100, noise=2.5)
    learn, validation = source.to_learn()[0], Pictures(80, 5, start=160)
    object.__setattr__(source, "to_learn", lambda: (learn, validation))
    best = linear_probe.evaluate(embed_images, embed_texts, source, mesh)["linear_probe_C"]
    vectors = [embed_images(images).vectors for images in (learn, validation)]

    def accuracy(strength):
        model = LogisticRegression(C=strength, max_iter=1000).fit(vectors[0], learn.labels)
        return model.score(vectors[1], validation.labels)

    around = [best * 10 ** (step / 8) for step in (-1, 1)]
    others = [accuracy(strength) for strength in (*around, *np.logspace(-6, 6, 7))]
    assert accuracy(best) >= max(others) > min(others)


def test_a_validation_split_of_the_source_is_used(mesh):
    source, embed_images, embed_texts, _, _ = everything()
    validation = Pictures(40, 5, start=200)
    asked = []

    def embed(images, trigger=None):
        asked.append(images)
        return embed_images(images, trigger)

    learn = source.to_learn()[0]
    object.__setattr__(source, "to_learn", lambda: (learn, validation))
    found = linear_probe.evaluate(embed, embed_texts, source, mesh)
    assert validation in asked
    both = np.concatenate([embed_images(x).vectors for x in (learn, validation)])
    labels = np.concatenate([learn.labels, validation.labels])
    model = LogisticRegression(C=found["linear_probe_C"], max_iter=1000).fit(both, labels)
    test = embed_images(source.images).vectors
    assert found["linear_probe_accuracy"].count == np.sum(
        model.predict(test) == source.images.labels
    )


@pytest.mark.parametrize("at_once", [8192, 23])
def test_knn_is_scikit_learns(at_once, monkeypatch, mesh):
    monkeypatch.setattr(search, "_CANDIDATES", at_once)
    monkeypatch.setattr(search, "_QUERIES_A_DEVICE", 3)
    source, embed_images, embed_texts, vectors, labels = everything()
    test = embed_images(source.images).vectors
    model = KNeighborsClassifier(
        20, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07)
    ).fit(vectors, labels)
    found = knn.evaluate(embed_images, embed_texts, source, mesh)
    assert found["knn_accuracy"].count == np.sum(model.predict(test) == source.images.labels)
    distances, places = model.kneighbors(test)
    similarity, nearest = knn.nearest(test, vectors, 20, mesh)
    np.testing.assert_allclose(similarity, 1 - distances, atol=1e-5)
    assert np.mean(nearest == places) > 0.99
    assert knn.nearest(test, vectors[:3], 20, mesh)[1].shape == (60, 3)


def test_what_cannot_be_learned_from_is_said(mesh):
    source, embed_images, embed_texts = fake_source(3, 20)
    with pytest.raises(UserError, match=r"knn needs images to learn from.*evaluate\.learn"):
        knn.evaluate(embed_images, embed_texts, source, mesh)
    object.__setattr__(source, "to_learn", lambda: (Pictures(20, 4), None))
    with pytest.raises(UserError, match="class 'class 3' is learned, but fake does not have it"):
        linear_probe.evaluate(embed_images, embed_texts, source, mesh)
    object.__setattr__(source, "to_learn", lambda: (Pictures(20, 1), None))
    with pytest.raises(UserError, match="at least two classes"):
        linear_probe.evaluate(embed_images, embed_texts, source, mesh)
