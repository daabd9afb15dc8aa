"""Pair scores to a safe and a risky pool, by a Gaussian mixture (SafeCLIP, section 4.2)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit
from sklearn.mixture import GaussianMixture

from safeclip_jax import whole_file
from safeclip_jax.errors import UserError, first_line

RULES = ("monotone", "paper")
NO_PAIRS = np.zeros(0, np.int32)
_FIT_SAMPLE = 1_000_000
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


@dataclass(frozen=True)
class Pools:
    """The pools of one epoch; together they hold every pair exactly once.

    Attributes:
      safe, risky: pair indices, int32, ascending.
      scores: float32 [N], what the mixture was fitted to.
      p_safe: float32 [N], by the rule in use.
      mixture: the fit, or None where the scores did not allow one.
      barred: pairs that are risky for good, whatever their scores, int32, ascending.
    """

    safe: np.ndarray
    risky: np.ndarray
    scores: np.ndarray
    p_safe: np.ndarray
    mixture: Mixture | None
    barred: np.ndarray

    def digest(self) -> str:
        """SHA-256 of safe pool, barred pairs and number of pairs; equal on every host."""
        indices = np.concatenate([self.safe, self.barred]).astype("<i4")
        payload = len(self.scores).to_bytes(8, "little") + indices.tobytes()
        return hashlib.sha256(payload).hexdigest()


def fit(scores: np.ndarray, seed: int) -> Mixture | None:
    """Fits the mixture by expectation maximisation.

    Args:
      scores: finite, [N].
      seed: of the initialisation and, above a million scores, of the sample that is fitted.

    Returns:
      The mixture, or None if the scores do not support two components: fewer than two
      distinct values, or a component that came out without weight or width.
    """
    values = np.asarray(scores, np.float64)
    if len(values) > _FIT_SAMPLE:
        values = np.random.default_rng(seed).choice(values, _FIT_SAMPLE, replace=False)
    center, spread = values.mean(), values.std()
    if len(values) < 2 or spread < _LEAST_STD:
        return None
    model = GaussianMixture(2, random_state=seed, max_iter=200, tol=1e-4, reg_covar=1e-6)
    model.fit(((values - center) / spread)[:, None])
    order = np.argsort(model.means_[:, 0])
    means = model.means_[order, 0] * spread + center
    stds = np.sqrt(model.covariances_[order, 0, 0]) * spread
    weights = model.weights_[order]
    if weights.min() * len(values) < 1 or not means[1] > means[0]:
        return None
    return Mixture(means, stds, weights)


def split(
    scores: np.ndarray,
    *,
    seed: int,
    rule: str = "monotone",
    threshold: float | None = None,
    share: float | None = None,
    least: float = 0.0,
    most: float = 1.0,
    likely: float = np.inf,
    barred: np.ndarray = NO_PAIRS,
) -> Pools:
    """Splits pairs into a safe and a risky pool.

    Give either `threshold`, for the first pools, or `share`, for the later ones.

    Args:
      scores: [N]; NaN marks a pair that could not be scored, which is always risky.
      seed: of the fit.
      rule: `monotone` ranks pairs by their score; `paper` by the plain responsibility,
        which can take pairs of the lowest scores for safe ones.
      threshold: a pair is safe if P(safe) is larger. Without a mixture (see `fit`) no
        pair can be told from another and half of them, those with the larger scores,
        are safe.
      least, most: bounds of the share that is safe by the threshold; beyond them the pairs
        that rank highest are.
      likely: with a threshold, a pair that scores more is safe whatever P(safe) is.
      share: this share of the N pairs, those that rank highest, is safe; ties go to the
        smaller index.
      barred: pairs that are never safe and to which nothing is fitted, ascending; their
        P(safe) is 0.

    Raises:
      UserError: if there are fewer than two pairs, no score is finite, or a score is infinite.
    """
    scores = np.asarray(scores, np.float32)
    usable = ~np.isnan(scores)
    usable[barred] = False
    if len(scores) < 2 or not usable.any():
        raise UserError(f"pools need at least 2 scored pairs, got {usable.sum()} of {len(scores)}")
    if np.isinf(scores).any():
        raise UserError(f"score of pair {int(np.argmax(np.isinf(scores)))} is infinite")
    mixture = fit(scores[usable], seed)
    p_safe = np.zeros(len(scores), np.float32)
    if mixture is not None:
        probability = mixture.p_safe if rule == "paper" else mixture.monotone_p_safe
        p_safe[usable] = probability(scores[usable])
    rank = p_safe if rule == "paper" and mixture is not None else scores
    if threshold is not None and mixture is not None:
        safe = usable & ((p_safe > threshold) | (scores > likely))
    else:
        safe = _highest(rank, usable, 0.5 if share is None else share)
    found = np.count_nonzero(safe) / len(scores)
    if threshold is not None and not least <= found <= most:
        safe = _highest(rank, usable, max(least, min(found, most)))
    indices = np.arange(len(scores), dtype=np.int32)
    return Pools(indices[safe], indices[~safe], scores, p_safe, mixture, barred)


def _highest(rank: np.ndarray, usable: np.ndarray, share: float) -> np.ndarray:
    """Marks the share of all pairs that rank highest, unusable ones never; bool [N]."""
    order = np.argsort(-np.where(usable, rank, -np.inf), kind="stable")
    marked = np.zeros(len(rank), bool)
    marked[order[: min(round(share * len(rank)), int(usable.sum()))]] = True
    return marked


def path(folder: Path, epoch: int) -> Path:
    """Where a run keeps the pools of an epoch."""
    return folder / "pools" / f"epoch_{epoch:03d}.npz"


def save(pools: Pools, path: Path) -> None:
    """Writes the pools with their scores, fit and digest."""
    names = ("safe", "scores", "p_safe", "barred")
    arrays = {name: getattr(pools, name) for name in names}
    if pools.mixture is not None:
        m = pools.mixture
        arrays["mixture"] = np.stack([m.means, m.stds, m.weights])
    arrays["digest"] = np.frombuffer(pools.digest().encode(), np.uint8)
    path.parent.mkdir(exist_ok=True)
    with whole_file.writing(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def load(path: Path) -> Pools:
    """Reads pools that `save` wrote.

    Raises:
      UserError: if the file cannot be read or its digest does not fit its content.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = dict(data)
        scores, safe = arrays["scores"], arrays["safe"]
        mixture = Mixture(*arrays["mixture"]) if "mixture" in arrays else None
        risky = np.setdiff1d(np.arange(len(scores), dtype=np.int32), safe)
        pools = Pools(safe, risky, scores, arrays["p_safe"], mixture, arrays["barred"])
        digest = arrays["digest"].tobytes().decode()
    except Exception as error:
        raise UserError(
            f"pools {path} cannot be read ({first_line(error)}): delete it to recompute"
        ) from None
    if digest != pools.digest():
        raise UserError(f"pools {path} do not match their digest: delete the file to recompute")
    return pools
