"""How many pairs have a caption that fits their image no better than a stranger's would?

The scores of N pairs are a mixture f = (1−π) f₀ + π f₁, in which f₁, the scores of captions that do
not belong, is known: shuffled pairs have it. So nothing is assumed of the honest pairs, and data in
which all captions fit yields a π near 0, where two fitted Gaussians always find two groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.isotonic import IsotonicRegression

from safeclip_jax.auditing.detectors import Scores
from safeclip_jax.evaluation.share import Share


@dataclass(frozen=True)
class Mismatch:
    """Estimate for the pairs of a data set.

    Attributes:
      above: share of the pairs that are more suspicious than the median of the shuffled ones.
      probability: of each pair that its caption does not belong, [N]; NaN for unusable ones.
      shuffled: scores of captions under images of others, [M].
    """

    above: Share
    probability: np.ndarray
    shuffled: np.ndarray

    @property
    def misfits(self) -> np.ndarray:
        """Pairs whose caption more probably does not belong than does, bool [N]."""
        return np.nan_to_num(self.probability) > 0.5

    @property
    def share(self) -> float:
        """π: half of the pairs that do not belong are above the median, and hardly any others."""
        return min(2 * self.above.value, 1.0)

    @property
    def count(self) -> int:
        """π·N."""
        return round(self.share * self.above.of)

    @property
    def interval(self) -> tuple[int, int]:
        """95 % of the count, of the draw of the pairs alone (Wilson)."""
        low, high = (min(2 * end, 1.0) * self.above.of for end in self.above.interval)
        return round(low), round(high)


def suspicion(scores: Scores, shuffled: Scores) -> tuple[np.ndarray, np.ndarray]:
    """Mean of several scores, in units of the shuffled pairs', of pairs [N] and of those [M].

    0 is the median of pairs that do not belong together, 1 a standard deviation above.

    Args:
      scores: of the pairs, high for suspicious ones; those of `shuffled` are used.
      shuffled: the same of captions under images of others.
    """
    of_pairs, of_shuffled = [], []
    for name, values in shuffled.items():
        center, unit = np.median(values), max(float(values.std()), 1e-6)
        of_pairs.append((scores[name] - center) / unit)
        of_shuffled.append((values - center) / unit)
    return np.mean(of_pairs, axis=0).astype(np.float32), np.mean(of_shuffled, axis=0)


def estimate(suspicion: np.ndarray, shuffled: np.ndarray) -> Mismatch:
    """Compares pairs with shuffled ones.

    P(does not belong | s) = π f₁(s) / f(s), by isotonic regression of which of the two a score
    comes from, and with π at the upper end of its interval: a few poisons are not to be missed
    because they are few.

    Args:
      suspicion: of the pairs, high where the caption fits badly, [N]; NaN for unusable ones.
      shuffled: of captions under images of others, [M].
    """
    usable = ~np.isnan(suspicion)
    values = suspicion[usable]
    above = Share(int(np.sum(values > np.median(shuffled))), len(values))
    probability = np.full(len(suspicion), np.nan, np.float32)
    share = 2 * above.interval[1]
    probability[usable] = np.minimum(share * _density_ratio(values, shuffled), 1)
    return Mismatch(above, probability, np.asarray(shuffled))


def _density_ratio(values: np.ndarray, shuffled: np.ndarray) -> np.ndarray:
    """f₁ / f at the pairs' scores."""
    both = np.concatenate([values, shuffled])
    origin = np.arange(len(both)) >= len(values)
    # As much weight for the shuffled ones as for the pairs, so that odds are the densities' ratio.
    weights = np.where(origin, len(values) / len(shuffled), 1.0)
    model = IsotonicRegression()
    share = model.fit(both, origin, sample_weight=weights).predict(values)
    return share / np.maximum(1 - share, 1e-9)
