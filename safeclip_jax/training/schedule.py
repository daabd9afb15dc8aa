"""The learning rate of a run by the pairs that it has seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from safeclip_jax.runs.settings import RunSettings


@dataclass(frozen=True)
class Schedule:
    """Of a run.

    Attributes:
      peak: the largest rate.
      warmup: pairs until then.
      total: pairs of the run.
      forgotten: pairs of the first epochs, whose weights are forgotten: the schedule begins twice.
    """

    peak: float
    warmup: float
    total: int
    forgotten: int = 0

    @classmethod
    def of(cls, config: RunSettings, pairs: int) -> Schedule:
        """The schedule of a run over so many pairs an epoch."""
        warmup = max(config.optimizer.warmup_pairs, config.plan.warmup_epochs_at_least * pairs)
        forgotten = config.plan.forgotten_epochs * pairs
        return cls(config.optimizer.learning_rate, warmup, pairs * config.epochs, forgotten)

    def rate(self, own: float | None, seen: float) -> np.float32:
        """The defence's own rate, or the schedule's after so many pairs."""
        if own is not None:
            return np.float32(own)
        if seen < self.forgotten:
            return np.float32(scheduled(seen, self.forgotten, self.peak, self.warmup))
        left = self.total - self.forgotten
        return np.float32(scheduled(seen - self.forgotten, left, self.peak, self.warmup))


def scheduled(seen: float, total: int, peak: float, warmup: float) -> float:
    """Linear warm-up to the peak over `warmup` pairs, then a cosine to zero at `total` pairs."""
    warmup = min(warmup, total)
    if seen < warmup:
        return peak * seen / warmup
    done = (seen - warmup) / max(total - warmup, 1)
    return peak * 0.5 * (1 + math.cos(math.pi * min(done, 1)))
