"""Zero-shot classification against NumPy in float64 and scikit-learn, on eight devices."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from safeclip_jax.errors import UserError
from safeclip_jax.evaluation import zero_shot
from tests.support.embedded import fake_source, unit

DEVICES = 8


def test_class_vectors_equal_loops_however_many_texts_are_embedded_at_once(monkeypatch):
    names, templates = ["cat", "dog", "owl"], ["a {}", "the {}", "{}!"]
    prompts = [[template.format(name) for template in templates] for name in names]
    vectors = {text: unit(i, 8) for i, text in enumerate(t for texts in prompts for t in texts)}
    means = [sum(vectors[t] for t in texts) for texts in prompts]
    expected = [mean / np.linalg.norm(mean) for mean in means]
    for at_once in (2, 4096):
        monkeypatch.setattr(zero_shot, "_TEXTS_AT_ONCE", at_once)
        found = zero_shot.class_vectors(lambda ts: np.stack([vectors[t] for t in ts]), prompts)
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("count", [1, 8, 37])
def test_classification_equals_numpy(count, monkeypatch, mesh):
    monkeypatch.setattr(zero_shot, "_IMAGES_A_DEVICE", 2)
    rng = np.random.default_rng(count)
    images, classes = rng.standard_normal((count, 16)), rng.standard_normal((7, 16))
    labels = rng.integers(0, 7, count)
    predictions, ranks = zero_shot.classify(images, labels, classes, mesh)
    similarity = images @ classes.T
    np.testing.assert_array_equal(predictions, similarity.argmax(axis=1))
    own = similarity[np.arange(count), labels]
    np.testing.assert_array_equal(ranks, (similarity > own[:, None]).sum(axis=1))


def test_equal_classes_come_in_their_order_and_what_is_no_number_comes_last(mesh):
    images = np.array([[1.0, 0.0], [np.nan, 0.0]])
    classes = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    for label, rank in ((1, 0), (2, 1), (0, 2)):
        _, ranks = zero_shot.classify(images, np.array([label, label]), classes, mesh)
        assert ranks.tolist() == [rank, 3]


def test_figures_equal_scikit_learns(mesh):
    source, embed_images, embed_texts = fake_source(classes=8, count=75, noise=4)
    found = zero_shot.evaluate(embed_images, embed_texts, source, mesh)
    labels = source.images.labels
    classes = zero_shot.class_vectors(embed_texts, source.prompts)
    similarity = embed_images(source.images).vectors @ classes.T
    top4, top5, top6 = (
        top_k_accuracy_score(labels, similarity, k=k, labels=range(8), normalize=False)
        for k in (4, 5, 6)
    )
    assert top4 < top5 < top6
    predictions = similarity.argmax(axis=1)
    assert found["zero_shot_accuracy"].count == np.sum(predictions == labels)
    assert found["zero_shot_accuracy_top5"].count == top5
    assert found["mean_per_class_recall"] == balanced_accuracy_score(labels, predictions)
    assert found["confusion"].sum() == 75 and found["confusion"].shape == (8, 8)
    few, embed_images, embed_texts = fake_source(classes=3, count=20)
    assert "zero_shot_accuracy_top5" not in zero_shot.evaluate(embed_images, embed_texts, few, mesh)


def test_labels_are_needed(mesh):
    source, embed_images, embed_texts = fake_source(classes=3, count=20)
    source.images.labels = None
    with pytest.raises(UserError, match="zero_shot needs class labels, and fake has none"):
        zero_shot.evaluate(embed_images, embed_texts, source, mesh)


def test_confusion():
    labels, predictions = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 2, 0])
    counts = zero_shot.confusion(labels, predictions, 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]
