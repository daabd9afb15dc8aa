"""The mixture of two Gaussians: its formulas against SciPy, its fit against scikit-learn alone."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.mixture import GaussianMixture

from safeclip_jax.defenses import mixture
from safeclip_jax.defenses.mixture import Mixture, fit


def two_humps(seed=0, low=700, high=1300):
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(-3, 0.4, low), rng.normal(5, 0.9, high)])
    return rng.permutation(scores)


@pytest.mark.parametrize("stds", [(0.4, 0.9), (0.9, 0.4), (0.5, 0.5)])
def test_densities_and_responsibilities_are_scipys(stds):
    found = Mixture(np.array([-3.0, 5.0]), np.array(stds), np.array([0.3, 0.7]))
    x = np.linspace(-6, 8, 57)
    risky, safe = 0.3 * norm.pdf(x, -3, stds[0]), 0.7 * norm.pdf(x, 5, stds[1])
    np.testing.assert_allclose(found.density(x), [risky, safe], rtol=1e-9)
    np.testing.assert_allclose(found.p_safe(x), safe / (safe + risky), rtol=1e-9)


@pytest.mark.parametrize("stds", [(0.4, 0.9), (0.9, 0.4), (0.5, 0.5)])
def test_beyond_the_point_where_the_odds_turn_they_stay(stds):
    """Monotone P(safe) is the running maximum of the plain one from the side of the safe mean."""
    found = Mixture(np.array([-3.0, 5.0]), np.array(stds), np.array([0.3, 0.7]))
    x = np.linspace(-60, 60, 24_001)
    plain = found.p_safe(x)
    # Below the safe mean nothing is safer than what scores more, above it nothing less safe.
    below = np.minimum.accumulate(plain[::-1])[::-1]
    above = np.maximum.accumulate(plain)
    expected = np.where(x < 1, below if stds[0] < stds[1] else plain, above)
    if stds[0] > stds[1]:
        expected = np.maximum.accumulate(plain)
    np.testing.assert_allclose(found.monotone_p_safe(x), expected, atol=1e-6)


def test_the_fit_is_scikit_learns_of_standardised_scores():
    scores = two_humps()
    found = fit(scores, seed=5)
    standard = (scores - scores.mean()) / scores.std()
    theirs = GaussianMixture(2, random_state=5, max_iter=200, tol=1e-4, reg_covar=1e-6)
    theirs.fit(standard[:, None])
    order = np.argsort(theirs.means_[:, 0])
    means = theirs.means_[order, 0] * scores.std() + scores.mean()
    stds = np.sqrt(theirs.covariances_[order, 0, 0]) * scores.std()
    np.testing.assert_allclose(found.means, means, rtol=1e-9)
    np.testing.assert_allclose(found.stds, stds, rtol=1e-9)
    np.testing.assert_allclose(found.weights, theirs.weights_[order], rtol=1e-9)
    np.testing.assert_allclose(found.means, [-3, 5], atol=0.1)
    np.testing.assert_allclose(found.stds, [0.4, 0.9], atol=0.05)
    np.testing.assert_allclose(found.weights, [0.35, 0.65], atol=0.01)


def test_the_settings_of_the_fit_are_these(monkeypatch):
    asked, make = {}, GaussianMixture

    def noting(components, **settings):
        asked.update(settings, components=components)
        return make(components, **settings)

    monkeypatch.setattr("sklearn.mixture.GaussianMixture", noting)
    fit(two_humps(), seed=9)
    assert asked == {
        "components": 2, "random_state": 9, "max_iter": 200, "tol": 1e-4, "reg_covar": 1e-6
    }  # fmt: skip


def test_the_fit_moves_and_stretches_with_the_scores():
    scores, moved = two_humps(), 1e-3 * two_humps() - 40
    one, other = fit(scores, 0), fit(moved, 0)
    np.testing.assert_allclose(other.means, 1e-3 * one.means - 40, rtol=1e-6)
    np.testing.assert_allclose(other.stds, 1e-3 * one.stds, rtol=1e-5)
    np.testing.assert_allclose(other.weights, one.weights, rtol=1e-5)


def test_only_usable_scores_are_fitted():
    scores, usable = two_humps(), np.ones(2000, bool)
    usable[::3] = False
    alone = fit(scores[usable], 0)
    scores[::3] = np.nan
    found = fit(scores, 0, usable)
    scores[::3] = 1e6
    for one in (found, fit(scores, 0, usable)):
        np.testing.assert_array_equal(one.means, alone.means)
        np.testing.assert_array_equal(one.weights, alone.weights)


@pytest.mark.parametrize("with_usable", [False, True])
def test_of_many_scores_a_random_sample_is_fitted(with_usable, monkeypatch):
    monkeypatch.setattr(mixture, "_SAMPLE", 400)
    fitted, real = [], GaussianMixture.fit

    def noting(model, x):
        fitted.append(x[:, 0])
        return real(model, x)

    monkeypatch.setattr(GaussianMixture, "fit", noting)
    scores = np.sort(two_humps())  # the first ones are all low
    usable = None
    if with_usable:
        usable = np.ones(2000, bool)
        usable[::2] = False
        scores = np.where(usable, scores, np.nan)
    found = fit(scores, 3, usable)
    np.testing.assert_allclose(found.means, [-3, 5], atol=0.3)
    np.testing.assert_allclose(found.weights, [0.35, 0.65], atol=0.08)
    assert len(fitted[0]) == 400 == len(np.unique(fitted[0]))  # none is drawn twice
    again, other = fit(scores, 3, usable), fit(scores, 4, usable)
    np.testing.assert_array_equal(found.means, again.means)
    assert (found.means != other.means).any()
    fit(scores[np.isfinite(scores)][:400], 3)
    assert len(fitted[-1]) == 400  # so many are all taken
    np.testing.assert_array_equal(np.sort(fitted[-1]), fitted[-1])


@pytest.mark.parametrize("count, fitted", [(1_000_000, 1_000_000), (1_000_001, 1_000_000)])
def test_a_million_scores_are_fitted_at_most(count, fitted, monkeypatch):
    _, seen = components(monkeypatch, [0.0, 1.0], [0.5, 0.5], count)
    assert seen == [fitted]


@pytest.mark.parametrize(
    "scores",
    [[0.3], [0.3] * 50, [0.3, 0.3 + 1e-7] * 20, [0.0, 1e-7]],
)
def test_scores_without_spread_have_no_mixture(scores):
    assert fit(np.array(scores), 0) is None


def components(monkeypatch, means, weights, count=100):
    """The mixture where scikit-learn finds such components, and how many scores it was given."""
    seen = []

    def fitted(model, x):
        seen.append(len(x))
        model.means_, model.weights_ = np.array(means)[:, None], np.array(weights)
        model.covariances_ = np.ones((2, 1, 1))
        return model

    monkeypatch.setattr(GaussianMixture, "fit", fitted)
    return fit(np.arange(float(count)), 0), seen


@pytest.mark.parametrize(
    "means, weights, there",
    [
        ([0.0, 1.0], [0.5, 0.5], True),
        ([1.0, 0.0], [0.011, 0.989], True),
        ([0.0, 1.0], [0.01, 0.99], True),  # one of a hundred scores
        ([0.0, 1.0], [0.009, 0.991], False),
        ([0.0, 1.0], [0.995, 0.005], False),
        ([0.5, 0.5], [0.5, 0.5], False),
        ([np.nan, 0.5], [0.5, 0.5], False),
    ],
)
def test_a_component_without_weight_or_place_is_none(means, weights, there, monkeypatch):
    found, _ = components(monkeypatch, means, weights)
    assert (found is not None) == there
    if there and means[0] > means[1]:
        np.testing.assert_allclose(found.weights, weights[::-1])
        assert found.means[1] > found.means[0]
