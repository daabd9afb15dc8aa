import numpy as np
from scipy.stats import mannwhitneyu

from safeclip_jax.evaluate import attack, zero_shot


def test_zero_shot_equals_loops():
    rng = np.random.default_rng(0)
    vectors = {}

    def embed(texts):
        for text in texts:
            x = rng.standard_normal(8)
            vectors.setdefault(text, x / np.linalg.norm(x))
        return np.stack([vectors[text] for text in texts])

    names, prompts = ["cat", "dog", "owl"], ["a {}", "the {}", "{}!"]
    texts = [[prompt.format(name) for prompt in prompts] for name in names]
    classes = zero_shot.class_vectors(embed, texts)
    images = rng.standard_normal((20, 8))
    predictions = zero_shot.predict(images, classes)
    for image, prediction in zip(images, predictions, strict=True):
        similarity = []
        for name in names:
            mean = sum(vectors[p.format(name)] for p in prompts)
            similarity.append(image @ mean / np.linalg.norm(mean))
        assert prediction == np.argmax(similarity)


def test_confusion_and_accuracy():
    labels, predictions = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 2, 0])
    counts = zero_shot.confusion(labels, predictions, 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]
    assert zero_shot.accuracy(labels, predictions) == 0.6


def test_target_rate_leaves_the_target_class_out():
    labels, predictions = np.array([1, 1, 0, 2, 2]), np.array([1, 1, 1, 0, 2])
    assert attack.target_rate(labels, predictions, 1) == 1 / 3


def test_score_auroc_equals_the_rank_statistic():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal(200)
    poisons = np.arange(15)
    scores[poisons] -= 1
    u = mannwhitneyu(scores[15:], scores[:15]).statistic
    np.testing.assert_allclose(attack.score_auroc(scores, poisons), u / (15 * 185))
    assert attack.score_auroc(scores, np.array([], int)) is None
