import numpy as np
import pytest
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
    assert attack.share(labels == predictions).value == 0.6


def test_target_rate_leaves_the_target_class_out():
    labels, predictions = np.array([1, 1, 0, 2, 2]), np.array([1, 1, 1, 0, 2])
    assert attack.target_rate(labels, predictions, 1) == attack.Share(1, 3)
    assert attack.target_rate(np.array([1, 1]), np.array([1, 0]), 1) is None


def test_score_auroc_equals_the_rank_statistic():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal(200)
    poisons = np.arange(15)
    scores[poisons] -= 1
    u = mannwhitneyu(scores[15:], scores[:15]).statistic
    np.testing.assert_allclose(attack.score_auroc(scores, poisons), u / (15 * 185))
    assert attack.score_auroc(scores, np.array([], int)) is None


@pytest.mark.parametrize("count, of", [(0, 20), (3, 20), (20, 20), (180, 1000)])
def test_intervals_are_wilsons(count, of):
    z, p = 1.959963984540054, count / of
    center = (p + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z / (1 + z**2 / of) * np.sqrt(p * (1 - p) / of + z**2 / (4 * of**2))
    low, high = attack.Share(count, of).interval
    np.testing.assert_allclose([low, high], [center - half, center + half], atol=1e-12)


def test_recall_at_one_percent_equals_a_plain_threshold():
    rng = np.random.default_rng(2)
    scores = rng.standard_normal(1000).astype(np.float32)
    poisons = rng.choice(1000, 60, replace=False)
    scores[poisons] -= 2
    scores[poisons[0]] = np.nan
    honest = np.delete(np.arange(1000), poisons)
    values = np.where(np.isnan(scores), -np.inf, scores)
    best = 0.0
    for threshold in values:
        if np.mean(values[honest] <= threshold) <= 0.01:
            best = max(best, np.mean(values[poisons] <= threshold))
    np.testing.assert_allclose(attack.score_recall(scores, poisons), best)
    assert attack.score_recall(scores, np.array([], int)) is None


def test_poison_success_and_its_base_rate():
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    predictions = np.array([1, 0, 1, 0, 2, 1, 2])
    chosen, targets = np.array([0, 4]), np.array([1, 2])
    assert attack.poison_success(predictions[chosen], targets) == attack.Share(2, 2)
    # the other zeros are taken for 1 in one case of three, the other one for 2 never
    base = attack.poison_base_rate(labels, predictions, chosen, targets)
    np.testing.assert_allclose(base, (1 / 3 + 0) / 2)
    none = np.array([], int)
    assert attack.poison_base_rate(labels, predictions, none, none) is None
    assert attack.poison_success(none, none) is None
