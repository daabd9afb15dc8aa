"""Pair scores to a safe and a risky pool (SafeCLIP, section 4.2)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from safeclip_jax.defenses import ranking
from safeclip_jax.defenses.mixture import Mixture, fit
from safeclip_jax.errors import UserError

RULES = ("monotone", "paper", "code")
NO_PAIRS = np.zeros(0, np.int32)


@dataclass(frozen=True)
class Pools:
    """The pools of one epoch; together they hold every pair exactly once.

    Attributes:
      is_safe: which pairs are in the safe pool, bool [N].
      scores: float32 [N], what the mixture was fitted to.
      mixture: the fit, or None where the scores did not allow one.
      excluded: pairs that are risky for good, whatever their scores, int32, ascending.
      rule: in `RULES`, by which P(safe) follows from the mixture.
    """

    is_safe: np.ndarray
    scores: np.ndarray
    mixture: Mixture | None
    excluded: np.ndarray
    rule: str = "monotone"

    @property
    def share(self) -> float:
        """Of all pairs, in the safe pool."""
        return np.count_nonzero(self.is_safe) / len(self.is_safe)

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
        """P(safe) of all pairs, float32 [N]; 0 of those that are excluded or have no score."""
        found = _p_safe(self.scores, self.mixture, self.rule)
        found[self.excluded] = 0
        return found

    def p_safe_of(self, pairs: np.ndarray) -> np.ndarray:
        """P(safe) of some pairs, float32 [n]."""
        found = _p_safe(self.scores[pairs], self.mixture, self.rule)
        found[np.isin(pairs, self.excluded)] = 0
        return found

    def digest(self) -> str:
        """SHA-256 of safe pool, excluded pairs and number of pairs; equal on every host."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256(len(self.scores).to_bytes(8, "little"))
        for part in ranking.parts(len(self.is_safe)):
            indices = part.start + np.flatnonzero(self.is_safe[part])
            digest.update(indices.astype("<i4").tobytes())
        digest.update(self.excluded.astype("<i4").tobytes())
        return digest.hexdigest()


def _p_safe(scores: np.ndarray, mixture: Mixture | None, rule: str) -> np.ndarray:
    """P(safe) by a rule, float32; 0 without a score or a mixture."""
    found = np.zeros(len(scores), np.float32)
    if mixture is not None:
        probability = mixture.monotone_p_safe if rule == "monotone" else mixture.p_safe
        for part in ranking.parts(len(scores)):
            found[part] = probability(scores[part])
        found[np.isnan(scores)] = 0
    return found


def _ranked(scores: np.ndarray, mixture: Mixture | None, rule: str) -> np.ndarray:
    """What pairs are ranked by, [N]."""
    if rule == "monotone" or mixture is None:
        return scores
    p_safe = _p_safe(scores, mixture, rule)
    return ranking.in_order(p_safe, scores) if rule == "code" else p_safe


def split(
    scores: np.ndarray,
    seed: int,
    rule: str = "monotone",
    *,
    threshold: float | None = None,
    share: float | None = None,
    least: float = 0.0,
    most: float = 1.0,
    safe_score: float = np.inf,
    excluded: np.ndarray = NO_PAIRS,
) -> Pools:
    """Splits pairs into a safe and a risky pool.

    Give either `threshold`, for the first pools, or `share`, for the later ones.

    Args:
      scores: [N]; NaN marks a pair that could not be scored, which is always risky.
      seed: of the fit.
      rule: `monotone` ranks pairs by their score; `paper` by the plain responsibility,
        which can take pairs of the lowest scores for safe ones; `code` by that of a mixture that
        is fitted as the authors' code does, see `mixture.fit`.
      threshold: a pair is safe if P(safe) is larger. Without a mixture (see `fit`) no
        pair can be told from another and half of them, those with the larger scores,
        are safe.
      least, most: bounds of the share that is safe by the threshold; beyond them the pairs
        that rank highest are.
      safe_score: with a threshold, a pair that scores more is safe whatever P(safe) is.
      share: this share of the N pairs, those that rank highest, is safe; ties go to the
        smaller index.
      excluded: pairs that are never safe and to which nothing is fitted, ascending; their
        P(safe) is 0.

    Raises:
      UserError: if there are fewer than two pairs, no score is finite, or a score is infinite.
    """
    scores = np.asarray(scores, np.float32)
    usable = ~np.isnan(scores)
    usable[excluded] = False
    if len(scores) < 2 or not usable.any():
        raise UserError(f"pools need at least 2 scored pairs, got {usable.sum()} of {len(scores)}")
    if np.isinf(scores).any():
        raise UserError(f"score of pair {int(np.argmax(np.isinf(scores)))} is infinite")
    mixture = fit(scores, seed, usable, rule == "code")

    def highest(share: float) -> np.ndarray:
        return ranking.highest(_ranked(scores, mixture, rule), round(share * len(scores)), usable)

    if threshold is not None and mixture is not None:
        safe = usable & (_p_safe(scores, mixture, rule) > threshold)
        safe |= usable & (scores > safe_score)
    else:
        safe = highest(0.5 if share is None else share)
    found = np.count_nonzero(safe) / len(scores)
    if threshold is not None and not least <= found <= most:
        safe = highest(max(least, min(found, most)))
    return Pools(safe, scores, mixture, excluded, rule)
