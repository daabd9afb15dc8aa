"""SafeCLIP: Yang, Gao & Mirzasoleiman, "Better Safe than Sorry", ICML 2024."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from safeclip_jax.defenses.plan import Stage
from safeclip_jax.density import beyond_fence
from safeclip_jax.errors import UserError, unknown
from safeclip_jax.pools import NO_PAIRS, RULES, Pools, split


@dataclass(frozen=True)
class SafeCLIP:
    """Unimodal warm-up, a slow CLIP epoch, then pools by a mixture over the pair scores.

    Epochs 0 … W−1 train each modality alone; epochs W … W+S−1 train CLIP on everything
    at a tiny rate η. From then on, with P_i = P(safe | score_i):

        safe_W+S = {i : P_i > t},   |safe_e| = min(|safe_e−1| + g·N, c·N), the highest ranks,

    where |safe_W+S| is held between g·N, lest a mixture without a clear safe component
    leave nothing to train on, and f·N. Each epoch trains the risky pool with the unimodal
    losses and the safe pool with the CLIP loss.

    With a fence φ > 0, pairs whose image lies farther from the others than Tukey's fence of the
    distances at epoch W+S are risky for good: what a picture is painted over with to hide what
    its true caption names is strange until the model has learnt it.

    `safeclip_plus` is the same plan with other values (docs/safeclip_plus.md).

    Attributes:
      warmup_epochs: W. slow_epochs: S. slow_learning_rate: η.
      threshold: t of the first safe pool.
      growth: g, share of the data by which the safe pool grows an epoch.
      cap: c, largest share of the data in the safe pool.
      adaptive: whether every epoch's own {i : P_i > t} caps the pool as well.
      likely: l, a pair that scores more counts to these whatever P_i is, lest a mixture without a
        risky component call the honest pairs' tail risky; 0 as published: none.
      first_cap: f, largest share in the first one.
      rule: `monotone` or `paper`, see `pools.split`.
      momentum: m, the pools are made of the running mean m·(last scores) + (1−m)·scores;
        0 as published.
      augment: whether the CLIP stages augment, too.
      train_risky: whether the risky pool is trained, or rests.
      fence: φ in interquartile ranges beyond the third quartile; 0 as published: no fence.
      fill: whether a second pass over a random part of the safe pool makes up for the pairs
        that are left out, so that an epoch has as many CLIP steps as without a defence.
      seed: of the mixture's initialisation.
    """

    warmup_epochs: int = 5
    slow_epochs: int = 1
    slow_learning_rate: float = 5e-6
    threshold: float = 0.9
    growth: float = 0.01
    cap: float = 0.85
    adaptive: bool = False
    likely: float = 0.0
    first_cap: float = 0.85
    rule: str = "monotone"
    momentum: float = 0.0
    augment: bool = True
    train_risky: bool = True
    fence: float = 0.0
    fill: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise unknown("safeclip.rule", self.rule, RULES)
        for name in ("threshold", "growth", "cap", "first_cap", "momentum"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"safeclip.{name}={getattr(self, name)} is not between 0 and 1")
        if self.fence < 0:
            raise UserError(f"safeclip.fence={self.fence} is negative: 0 is none")
        if not self.growth <= self.cap:
            raise UserError(f"safeclip.growth={self.growth} exceeds safeclip.cap={self.cap}")

    @property
    def _first_pools(self) -> int:
        return self.warmup_epochs + self.slow_epochs

    def needs_scores(self, epoch: int) -> bool:
        return epoch >= self._first_pools

    def needs_distances(self, epoch: int) -> bool:
        return self.fence > 0 and epoch == self._first_pools

    def pools(
        self,
        epoch: int,
        scores: np.ndarray,
        previous: Pools | None,
        distances: np.ndarray | None = None,
    ) -> Pools:
        most = min(self.first_cap, self.cap)
        least = min(self.growth, most)
        barred = NO_PAIRS if previous is None else previous.barred
        if distances is not None:
            barred = beyond_fence(distances, self.fence)
        by_rule = partial(split, seed=self.seed, rule=self.rule, barred=barred)
        if previous is None:
            return by_rule(scores, threshold=self.threshold, least=least, most=most)
        scores = self.momentum * previous.scores + (1 - self.momentum) * scores
        share = min(len(previous.safe) / len(scores) + self.growth, self.cap)
        if not self.adaptive:
            return by_rule(scores, share=share)
        likely = self.likely or np.inf
        return by_rule(scores, threshold=self.threshold, least=least, most=share, likely=likely)

    def stages(self, epoch: int, pairs: np.ndarray, pools: Pools | None) -> list[Stage]:
        if epoch < self.warmup_epochs:
            return [Stage("warm-up", "unimodal", pairs, True)]
        if epoch < self._first_pools:
            return [Stage("slow start", "clip", pairs, self.augment, self.slow_learning_rate)]
        assert pools is not None
        risky = [Stage("risky", "unimodal", pools.risky, True)] if self.train_risky else []
        safe = [Stage("safe", "clip", pools.safe, self.augment)]
        if self.fill:
            missing = min(len(pairs) - len(pools.safe), len(pools.safe))
            rng = np.random.default_rng([self.seed, epoch, 0xF111])
            again = np.sort(rng.choice(pools.safe, missing, replace=False))
            safe.append(Stage("safe again", "clip", again, self.augment))
        return [*risky, *safe]
