"""SafeCLIP: Yang, Gao & Mirzasoleiman, "Better Safe than Sorry", ICML 2024."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from safeclip_jax.defenses.plan import Before, Stage
from safeclip_jax.defenses.pools import NO_PAIRS, RULES, Pools, split
from safeclip_jax.errors import UserError, unknown
from safeclip_jax.neighbors.density import beyond_fence


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

    The fence tells most after an epoch that is fast enough to see shapes, which would also be one
    that remembers poisons. So R scouting epochs at a rate of their own can come before all
    others: the fence is drawn after them, and their weights are forgotten. Warm-up and slow epochs
    then train the share ρ of the pairs, none of them barred, that the scouts scored highest.

    A model that has seen little is upset by a step from η to the peak rate, and learns shapes
    late. So the scheduled rate can rise at least until the pools have trained for ϱ epochs.

    `safeclip_plus` is the same plan with other values (docs/safeclip_plus.md).

    Attributes:
      score: what the pools are made of, see `Steps.score`. score_batch: pairs scored together.
      scout_epochs: R, 0 as published. scout_learning_rate: of these. scout_share: ρ.
      warmup_epochs: W. slow_epochs: S. slow_learning_rate: η.
      rise_epochs: ϱ; 0 as published: the schedule's own warm-up is all.
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

    score: str = "cosine"
    score_batch: int = 1024
    scout_epochs: int = 0
    scout_learning_rate: float = 2.5e-5
    scout_share: float = 0.85
    warmup_epochs: int = 5
    slow_epochs: int = 1
    slow_learning_rate: float = 5e-6
    rise_epochs: float = 0.0
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
        for name in ("scout_share", "threshold", "growth", "cap", "first_cap", "momentum"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"safeclip.{name}={getattr(self, name)} is not between 0 and 1")
        for name in ("fence", "rise_epochs"):
            if getattr(self, name) < 0:
                raise UserError(f"safeclip.{name}={getattr(self, name)} is negative: 0 is none")
        if self.scout_epochs and not self.fence:
            raise UserError(
                f"safeclip.scout_epochs={self.scout_epochs} would show a fence, and there is none: "
                "set scout_epochs=0, or fence"
            )
        if self.likely and self.score == "cosine":
            raise UserError(
                f"safeclip.likely={self.likely} is no cosine: set safeclip.score=typical, or "
                "safeclip.likely=0"
            )
        if not self.growth <= self.cap:
            raise UserError(f"safeclip.growth={self.growth} exceeds safeclip.cap={self.cap}")

    @property
    def _slow(self) -> int:
        return self.scout_epochs + self.warmup_epochs

    @property
    def _first_pools(self) -> int:
        return self._slow + self.slow_epochs

    @property
    def rising_epochs(self) -> float:
        return self.rise_epochs and self._first_pools + self.rise_epochs

    def before(self, epoch: int) -> Before:
        scouted = 0 < self.scout_epochs == epoch
        return Before(
            pools=scouted or epoch >= self._first_pools,
            distances=self.fence > 0 and epoch == (self.scout_epochs or self._first_pools),
            reuse=epoch > self._first_pools,
            anew=scouted,
        )

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
        if epoch < self._first_pools:
            return by_rule(scores, share=self.scout_share)
        if previous is None or epoch == self._first_pools:
            return by_rule(scores, threshold=self.threshold, least=least, most=most)
        scores = (1 - self.momentum) * scores
        scores += self.momentum * previous.scores
        share = min(np.count_nonzero(previous.is_safe) / len(scores) + self.growth, self.cap)
        if not self.adaptive:
            return by_rule(scores, share=share)
        likely = self.likely or np.inf
        return by_rule(scores, threshold=self.threshold, least=least, most=share, likely=likely)

    def stages(self, epoch: int, pairs: np.ndarray, pools: Pools | None) -> list[Stage]:
        if epoch < self.scout_epochs:
            return [Stage("scouting", "clip", pairs, self.augment, self.scout_learning_rate)]
        if epoch < self._first_pools:
            if pools is not None:
                pairs = pools.safe
            if epoch < self._slow:
                return [Stage("warm-up", "unimodal", pairs, True)]
            return [Stage("slow start", "clip", pairs, self.augment, self.slow_learning_rate)]
        assert pools is not None
        safe = pools.safe
        stages = [Stage("safe", "clip", safe, self.augment)]
        if self.train_risky:
            stages.insert(0, Stage("risky", "unimodal", pools.risky, True))
        if self.fill:
            missing = min(len(pairs) - len(safe), len(safe))
            rng = np.random.default_rng([self.seed, epoch, 0xF111])
            again = np.sort(rng.choice(safe, missing, replace=False))
            stages.append(Stage("safe again", "clip", again, self.augment))
        return stages
