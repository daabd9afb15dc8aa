"""SafeCLIP+, an experimental variant of SafeCLIP that also meets poisons with true captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from safeclip_jax.defenses.defense import Before, Defense, Everything, SafePool, Stage
from safeclip_jax.defenses.outliers import beyond_fence
from safeclip_jax.defenses.pools import NO_PAIRS, Pools, split
from safeclip_jax.defenses.scores import SCORES
from safeclip_jax.objectives.clip import CLIP
from safeclip_jax.settings.fields import SHARE, SettingError, above, at_least, one_of, setting


@dataclass(frozen=True)
class SecondPass(SafePool):
    """A random part of the safe pool, as large as what is not in it, but no larger than the pool.

    With it an epoch has as many CLIP steps as without a defence.

    Attributes:
      place: from which the draw derives.
    """

    place: tuple[int, ...] = ()

    def indices(self, pairs: int, pools: Pools | None) -> np.ndarray:
        safe = super().indices(pairs, pools)
        missing = min(pairs - len(safe), len(safe))
        rng = np.random.default_rng([*self.place, 0xF111])
        return np.sort(rng.choice(safe, missing, replace=False))


@dataclass(frozen=True)
class SafeCLIPPlus(Defense):
    """A pilot epoch, a slow CLIP epoch on what it leaves, then safe pools alone.

    Label-consistent poisons have true captions, so no score of image and caption finds them. But
    what a picture is painted over with is strange until the model has learnt it. So a pilot of R
    epochs at a rate of its own comes first: pairs whose image then lies beyond Tukey's fence of
    the distances between images, φ interquartile ranges above the third quartile, are excluded for
    good. The pilot's weights are forgotten, for they remember poisons as well. S slow epochs train
    the share ρ of the pairs that the pilot scored highest.

    From then on the pools are made of the running mean m·(last scores) + (1−m)·scores:

        safe_R+S = {i : P_i > t} of at most f·N,
        |safe_e| ≤ min(|safe_e−1| + g·N, c·N),  safe_e ⊆ {i : P_i > t or score_i > l}

    where l keeps a mixture without a risky component from calling the honest pairs' tail risky.
    The risky pool rests; a second pass over a random part of the safe pool takes its steps. The
    scheduled rate rises at least until the pools have trained for ϱ epochs: a model that has seen
    little is upset by a step from the slow rate to the peak.
    """

    score: str = setting("typical", "what pairs are scored by", one_of(SCORES))  # type: ignore
    pilot_epochs: int = setting(1, "R, CLIP on everything, forgotten afterwards", at_least(1))
    pilot_learning_rate: float = setting(2.5e-5, "of the pilot", above(0))
    pilot_share: float = setting(0.85, "ρ of the data, best scores of the pilot: train next", SHARE)
    outlier_iqr: float = setting(1.5, "φ, images so far from others are excluded", above(0))
    slow_epochs: int = setting(1, "S, CLIP at the slow rate", at_least(0))
    slow_learning_rate: float = setting(5e-6, "of the slow epochs", at_least(0))
    rising_epochs: float = setting(1.0, "ϱ, with pools, in which the rate still rises", at_least(0))
    threshold: float = setting(0.5, "t, P(safe) of a safe pair", SHARE)
    safe_score: float = setting(0.75, "l, a pair that scores more is safe whatever P(safe) is")
    growth: float = setting(0.01, "g, share of the data by which the safe pool may grow", SHARE)
    cap: float = setting(0.99, "c, largest share of the data in the safe pool", SHARE)
    first_cap: float = setting(0.85, "f, largest share in the first safe pool", SHARE)
    momentum: float = setting(0.5, "m, of the running mean of scores", SHARE)

    def __post_init__(self) -> None:
        if self.growth > self.cap:
            raise SettingError("growth", f"exceeds cap={self.cap}")
        if self.score == "cosine":
            raise SettingError("score", "safe_score is no cosine: choose relative or typical")

    @property
    def _first_pools(self) -> int:
        return self.pilot_epochs + self.slow_epochs

    @property
    def warmup_epochs_at_least(self) -> float:
        return self.rising_epochs and self._first_pools + self.rising_epochs

    def before(self, epoch: int) -> Before:
        after_pilot = epoch == self.pilot_epochs
        return Before(
            pools=after_pilot or epoch >= self._first_pools,
            distances=after_pilot,
            reuse=epoch > self._first_pools,
            restart=after_pilot,
        )

    def pools(
        self,
        epoch: int,
        scores: np.ndarray,
        previous: Pools | None,
        distances: np.ndarray | None = None,
    ) -> Pools:
        excluded = NO_PAIRS if previous is None else previous.excluded
        if distances is not None:
            excluded = beyond_fence(distances, self.outlier_iqr)
        if epoch < self._first_pools:
            return split(scores, self.seed, share=self.pilot_share, excluded=excluded)
        most = min(self.first_cap, self.cap)
        if previous is None or epoch == self._first_pools:
            least = min(self.growth, most)
            return split(
                scores,
                self.seed,
                threshold=self.threshold,
                least=least,
                most=most,
                excluded=excluded,
            )
        return split(
            self.momentum * previous.scores + (1 - self.momentum) * scores,
            self.seed,
            threshold=self.threshold,
            least=min(self.growth, most),
            most=min(previous.share + self.growth, self.cap),
            safe_score=self.safe_score,
            excluded=excluded,
        )

    def stages(self, epoch: int) -> Sequence[Stage]:
        if epoch < self.pilot_epochs:
            return [Stage("pilot", CLIP, Everything(), True, self.pilot_learning_rate)]
        if epoch < self._first_pools:
            part = SafePool(self.pilot_share)
            return [Stage("slow start", CLIP, part, True, self.slow_learning_rate)]
        again = SecondPass(place=(self.seed, epoch))
        return [Stage("safe", CLIP, SafePool(), True), Stage("safe again", CLIP, again, True)]
