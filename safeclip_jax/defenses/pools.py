"""Pair scores to a safe and a risky pool, by a Gaussian mixture (SafeCLIP, section 4.2)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.special import expit
from sklearn.mixture import GaussianMixture

from safeclip_jax.defenses import ranking
from safeclip_jax.errors import UserError, first_line
from safeclip_jax.system import atomic_file

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
      is_safe: which pairs are in the safe pool, bool [N].
      scores: float32 [N], what the mixture was fitted to.
      mixture: the fit, or None where the scores did not allow one.
      barred: pairs that are risky for good, whatever their scores, int32, ascending.
      rule: in `RULES`, by which P(safe) follows from the mixture.
    """

    is_safe: np.ndarray
    scores: np.ndarray
    mixture: Mixture | None
    barred: np.ndarray
    rule: str = "monotone"

    @property
    def safe(self) -> np.ndarray:
        """Pair indices, int32, ascending."""
        return ranking.places(self.is_safe)

    @property
    def risky(self) -> np.ndarray:
        """Pair indices, int32, ascending."""
        return ranking.places(~self.is_safe)

    @property
    def p_safe(self) -> np.ndarray:
        """P(safe) of all pairs, float32 [N]; 0 of those that are barred or have no score."""
        found = _p_safe(self.scores, self.mixture, self.rule)
        found[self.barred] = 0
        return found

    def p_safe_of(self, pairs: np.ndarray) -> np.ndarray:
        """P(safe) of some pairs, float32 [n]."""
        found = _p_safe(self.scores[pairs], self.mixture, self.rule)
        found[np.isin(pairs, self.barred)] = 0
        return found

    def digest(self) -> str:
        """SHA-256 of safe pool, barred pairs and number of pairs; equal on every host."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256(len(self.scores).to_bytes(8, "little"))
        for part in ranking.parts(len(self.is_safe)):
            indices = part.start + np.flatnonzero(self.is_safe[part])
            digest.update(indices.astype("<i4").tobytes())
        digest.update(self.barred.astype("<i4").tobytes())
        return digest.hexdigest()


def _p_safe(scores: np.ndarray, mixture: Mixture | None, rule: str) -> np.ndarray:
    """P(safe) by a rule, float32; 0 without a score or a mixture."""
    found = np.zeros(len(scores), np.float32)
    if mixture is not None:
        probability = mixture.p_safe if rule == "paper" else mixture.monotone_p_safe
        for part in ranking.parts(len(scores)):
            found[part] = probability(scores[part])
        found[np.isnan(scores)] = 0
    return found


def fit(scores: np.ndarray, seed: int, usable: np.ndarray | None = None) -> Mixture | None:
    """Fits the mixture by expectation maximisation.

    Args:
      scores: [N], those that count finite.
      seed: of the initialisation and, above a million scores, of the sample that is fitted.
      usable: which count, bool [N]; None for all.

    Returns:
      The mixture, or None if the scores do not support two components: fewer than two
      distinct values, or a component that came out without weight or width.
    """
    values = _sample(scores, seed, usable)
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


def _sample(scores: np.ndarray, seed: int, usable: np.ndarray | None) -> np.ndarray:
    """The usable scores, or of more than a million so many, drawn by the seed; float64."""
    count = len(scores) if usable is None else int(np.count_nonzero(usable))
    if count <= _FIT_SAMPLE:
        return np.asarray(scores if usable is None else scores[usable], np.float64)
    drawn = np.random.default_rng(seed).choice(count, _FIT_SAMPLE, replace=False)
    places = drawn if usable is None else ranking.nth(usable, drawn)
    return np.asarray(scores[places], np.float64)


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
    mixture = fit(scores, seed, usable)

    def highest(share: float) -> np.ndarray:
        by_probability = rule == "paper" and mixture is not None
        rank = _p_safe(scores, mixture, rule) if by_probability else scores
        return ranking.highest(rank, round(share * len(scores)), usable)

    if threshold is not None and mixture is not None:
        safe = usable & (_p_safe(scores, mixture, rule) > threshold)
        safe |= usable & (scores > likely)
    else:
        safe = highest(0.5 if share is None else share)
    found = np.count_nonzero(safe) / len(scores)
    if threshold is not None and not least <= found <= most:
        safe = highest(max(least, min(found, most)))
    return Pools(safe, scores, mixture, barred, rule)


def path(folder: Path, epoch: int) -> Path:
    """Where a run keeps the pools of an epoch."""
    return folder / "pools" / f"epoch_{epoch:03d}.npz"


def save(pools: Pools, path: Path) -> None:
    """Writes the pools with their scores, fit and digest."""
    arrays = {
        "safe_bits": np.packbits(pools.is_safe),
        "scores": pools.scores,
        "barred": pools.barred,
        "rule": np.array(pools.rule),
        "digest": np.frombuffer(pools.digest().encode(), np.uint8),
    }
    if pools.mixture is not None:
        m = pools.mixture
        arrays["mixture"] = np.stack([m.means, m.stds, m.weights])
    path.parent.mkdir(exist_ok=True)
    with atomic_file.writing(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def load(path: Path) -> Pools:
    """Reads pools that `save` wrote, now or when it noted indices and P(safe).

    Raises:
      UserError: if the file cannot be read or its digest does not fit its content.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            pools = _by_bits(data) if "safe_bits" in data else _by_indices(data)
            digest = data["digest"].tobytes().decode()
    except Exception as error:
        raise UserError(
            f"pools {path} cannot be read ({first_line(error)}): delete it to recompute"
        ) from None
    if digest != pools.digest():
        raise UserError(f"pools {path} do not match their digest: delete the file to recompute")
    return pools


def _by_bits(data: Mapping[str, np.ndarray]) -> Pools:
    scores, rule = data["scores"], str(data["rule"])
    if rule not in RULES:
        raise ValueError(f"rule {rule!r}")
    safe = np.unpackbits(data["safe_bits"], count=len(scores)).view(bool)
    return Pools(safe, scores, _mixture(data), data["barred"], rule)


def _by_indices(data: Mapping[str, np.ndarray]) -> Pools:
    """Of a file that does not name its rule: the one that gives the P(safe) in it."""
    scores, p_safe = data["scores"], data["p_safe"]
    safe = np.zeros(len(scores), bool)
    safe[data["safe"]] = True
    by_rule = [Pools(safe, scores, _mixture(data), data["barred"], rule) for rule in RULES]
    return min(by_rule, key=lambda pools: float(np.abs(pools.p_safe - p_safe).max()))


def _mixture(data: Mapping[str, np.ndarray]) -> Mixture | None:
    return Mixture(*data["mixture"]) if "mixture" in data else None
