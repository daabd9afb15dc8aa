"""A mixture of two Gaussians over the scores of all pairs (SafeCLIP, section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from safeclip_jax.defenses import ranking

_SAMPLE = 1_000_000
_LEAST_STD = 1e-6


@dataclass(frozen=True)
class Mixture:
    """Two Gaussians in one dimension; component 1 has the larger mean and is the safe one.

    Attributes:
      means, stds, weights: float64 [2], in the order risky, safe.
    """

    means: np.ndarray
    stds: np.ndarray
    weights: np.ndarray

    def p_safe(self, scores: np.ndarray) -> np.ndarray:
        """Responsibility of the safe component, [N]. Not monotone in the score."""
        risky, safe = self._log_joint(scores)
        return expit(safe - risky)

    def monotone_p_safe(self, scores: np.ndarray) -> np.ndarray:
        """`p_safe` made monotone in the score, [N].

        The log-odds are a quadratic in the score. With unequal variances the wider
        component wins both tails: the responsibility turns round at the quadratic's
        vertex, below the risky mean or above the safe one. Scores beyond the vertex are
        treated as lying on it.
        """
        risky, safe = 1 / self.stds**2
        if risky == safe:
            return self.p_safe(scores)
        vertex = (safe * self.means[1] - risky * self.means[0]) / (safe - risky)
        beyond = np.maximum if safe < risky else np.minimum
        return self.p_safe(beyond(scores, vertex))

    def density(self, scores: np.ndarray) -> np.ndarray:
        """Weighted density of both components, [2, N]."""
        return np.exp(self._log_joint(scores))

    def _log_joint(self, scores: np.ndarray) -> np.ndarray:
        z = (np.asarray(scores, np.float64)[None] - self.means[:, None]) / self.stds[:, None]
        constant = np.log(self.weights / self.stds) - 0.5 * np.log(2 * np.pi)
        return constant[:, None] - 0.5 * z**2


def fit(
    scores: np.ndarray, seed: int, usable: np.ndarray | None = None, by_the_code: bool = False
) -> Mixture | None:
    """Fits the mixture by expectation maximisation.

    Args:
      scores: [N], those that count finite.
      seed: of the initialisation and, above a million scores, of the sample that is fitted.
      usable: which count, bool [N]; None for all.
      by_the_code: whether to fit as the authors' code does: all scores as they are, by
        scikit-learn's defaults, with the seed 0.

    Returns:
      The mixture, or None if the scores do not support two components: fewer than two
      distinct values, or a component that came out without weight or width.
    """
    from sklearn.mixture import GaussianMixture  # seconds, which `--help` spares

    values = _sample(scores, seed, usable)
    center, spread = values.mean(), values.std()
    if len(values) < 2 or spread < _LEAST_STD:
        return None
    model = GaussianMixture(2, random_state=seed, max_iter=200, tol=1e-4, reg_covar=1e-6)
    if by_the_code:
        center, spread, model = 0.0, 1.0, GaussianMixture(2, random_state=0)
    model.fit(((values - center) / spread)[:, None])
    order = np.argsort(model.means_[:, 0])
    means = model.means_[order, 0] * spread + center
    stds = np.sqrt(model.covariances_[order, 0, 0]) * spread
    weights = model.weights_[order]
    if weights.min() * len(values) < 1 or not means[1] > means[0]:
        return None
    return Mixture(means, stds, weights)


def _sample(scores: np.ndarray, seed: int, usable: np.ndarray | None) -> np.ndarray:
    """The usable scores, or of more than a million so many, drawn by the seed; float64."""
    count = len(scores) if usable is None else int(np.count_nonzero(usable))
    if count <= _SAMPLE:
        return np.asarray(scores if usable is None else scores[usable], np.float64)
    drawn = np.random.default_rng(seed).choice(count, _SAMPLE, replace=False)
    places = drawn if usable is None else ranking.nth(usable, drawn)
    return np.asarray(scores[places], np.float64)
