"""The pattern that suspects share: features by loops, halves that are not fitted, p-values."""

import numpy as np
import pytest
from PIL import Image
from scipy.stats import mannwhitneyu
from sklearn.linear_model import RidgeClassifierCV
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from safeclip_jax.auditing import pattern
from safeclip_jax.auditing.pattern import Pattern

WIDTH = 3 * 32**2 + 16**2


def test_features_are_pixels_and_the_root_of_the_mean_laplacian():
    image = np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    found = pattern.features(image)
    assert found.shape == (WIDTH,) == (pattern.FEATURES,) and found.dtype == np.float32
    small = Image.fromarray(image).resize((32, 32), Image.Resampling.BOX)
    np.testing.assert_array_equal(found[: 3 * 32**2], np.asarray(small, float).ravel())
    gray = np.asarray(Image.fromarray(image).convert("L"), float)
    edges = np.zeros((48, 48))
    for i in range(48):
        for j in range(48):
            around = gray[i, j + 1] + gray[i + 2, j + 1] + gray[i + 1, j] + gray[i + 1, j + 2]
            edges[i, j] = abs(4 * gray[i + 1, j + 1] - around)
    cells = edges.reshape(16, 3, 16, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(found[3 * 32**2 :], np.sqrt(cells).ravel(), rtol=1e-5)


def drawn(count, first, shift, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, WIDTH)).astype(np.float32)
    x[:, :300] += shift
    return x, first + np.arange(count)


def test_each_half_is_judged_by_a_model_of_the_other():
    suspects, like = drawn(14, 3, 0.4, 0), drawn(31, 40, 0.0, 1)
    found = pattern.find(suspects, like)
    inputs, numbers = (np.concatenate(both) for both in zip(suspects, like, strict=True))
    labels, scores = np.arange(45) < 14, np.zeros(45)
    for half in (0, 1):
        mine = numbers % 2 == half
        scaler = StandardScaler().fit(inputs[mine])
        model = RidgeClassifierCV(np.logspace(1, 6, 11), class_weight="balanced")
        model.fit(scaler.transform(inputs[mine]), labels[mine])
        scores[~mine] = model.decision_function(scaler.transform(inputs[~mine]))
    np.testing.assert_allclose(found.scores(inputs, numbers), scores, rtol=1e-4, atol=1e-5)
    assert 0.6 < found.auroc < 1
    assert found.auroc == pytest.approx(roc_auc_score(labels, scores))
    test = mannwhitneyu(scores[labels], scores[~labels], alternative="greater")
    assert found.p_value == pytest.approx(test.pvalue)
    difference = (suspects[0].mean(axis=0) - like[0].mean(axis=0))[: 3 * 32**2]
    np.testing.assert_allclose(found.difference, difference.reshape(32, 32, 3), rtol=1e-5)


@pytest.mark.parametrize(
    "p_value, auroc, counts",
    [(1e-4, 0.71, True), (1e-3, 0.9, False), (9e-4, 0.9, True), (0.2, 0.9, False),
     (1e-9, 0.7, False), (1e-9, 0.3, False)],
)  # fmt: skip
def test_a_pattern_counts_if_it_is_no_chance_and_tells_most(p_value, auroc, counts):
    assert Pattern(auroc, p_value, np.zeros(0), ()).counts(1e-3) == counts


@pytest.mark.parametrize("short", [0, 1])
@pytest.mark.parametrize("half", [0, 1])
def test_a_half_needs_five_pictures_of_each_kind(short, half):
    inputs = np.random.default_rng(0).standard_normal((30, WIDTH)).astype(np.float32)
    for few in range(2):
        numbers = [np.arange(10), np.arange(100, 120)]
        numbers[few] = np.concatenate(
            [2 * np.arange(5 - short) + half, 2 * np.arange(7) + 1 - half]
        )
        found = pattern.find(*((inputs[: len(n)], n) for n in numbers))
        assert (found is None) == bool(short)
