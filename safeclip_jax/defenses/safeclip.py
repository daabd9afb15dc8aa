"""SafeCLIP: Yang, Gao & Mirzasoleiman, "Better Safe than Sorry", ICML 2024."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from safeclip_jax.defenses.defense import Before, Defense, Everything, RiskyPool, SafePool, Stage
from safeclip_jax.defenses.pools import RULES, Pools, split
from safeclip_jax.objectives.clip import CLIP
from safeclip_jax.objectives.objective import Objective
from safeclip_jax.objectives.unimodal import UNIMODAL
from safeclip_jax.settings.fields import SHARE, SettingError, at_least, one_of, setting


@dataclass(frozen=True)
class SafeCLIP(Defense):
    """Unimodal warm-up, a slow CLIP epoch, then pools by a mixture over the pair scores.

    Epochs 0 … W−1 train each modality alone; epochs W … W+S−1 train CLIP on everything
    at a tiny rate η. From then on, with P_i = P(safe | score_i):

        safe_W+S = {i : P_i > t},   |safe_e| = min(|safe_e−1| + g·N, c·N), the highest ranks,

    where |safe_W+S| is held between g·N, lest a mixture without a clear safe component
    leave nothing to train on, and f·N. Each epoch trains the risky pool with the unimodal
    losses and the safe pool with the CLIP loss, both augmented.
    """

    warmup_epochs: int = setting(5, "W, unimodal only", at_least(0))
    slow_epochs: int = setting(1, "S, CLIP on everything at the slow rate", at_least(0))
    slow_learning_rate: float = setting(5e-6, "η of the slow epochs", at_least(0))
    threshold: float = setting(0.9, "t, P(safe) of the first safe pool", SHARE)
    growth: float = setting(0.01, "g, share of the data by which the safe pool grows", SHARE)
    cap: float = setting(0.85, "c, largest share of the data in the safe pool", SHARE)
    first_cap: float = setting(0.85, "f, largest share in the first safe pool", SHARE)
    rule: str = setting("monotone", "P(safe) by plain responsibilities, or monotone", one_of(RULES))

    def __post_init__(self) -> None:
        if self.growth > self.cap:
            raise SettingError("growth", f"exceeds cap={self.cap}")

    @property
    def _first_pools(self) -> int:
        return self.warmup_epochs + self.slow_epochs

    @property
    def _first_bounds(self) -> tuple[float, float]:
        """Smallest and largest share in the first safe pool."""
        most = min(self.first_cap, self.cap)
        return min(self.growth, most), most

    def before(self, epoch: int) -> Before:
        return Before(pools=epoch >= self._first_pools, reuse=epoch > self._first_pools)

    def pools(
        self,
        epoch: int,
        scores: np.ndarray,
        previous: Pools | None,
        distances: np.ndarray | None = None,
    ) -> Pools:
        if previous is None or epoch == self._first_pools:
            least, most = self._first_bounds
            return split(
                scores, self.seed, self.rule, threshold=self.threshold, least=least, most=most
            )
        share = min(previous.share + self.growth, self.cap)
        return split(scores, self.seed, self.rule, share=share)

    @property
    def _of_pairs(self) -> Objective:
        """What trains both modalities together."""
        return CLIP

    def stages(self, epoch: int) -> Sequence[Stage]:
        of_pairs = self._of_pairs
        if epoch < self.warmup_epochs:
            return [Stage("warm-up", UNIMODAL, Everything(), True)]
        if epoch < self._first_pools:
            return [Stage("slow start", of_pairs, Everything(), True, self.slow_learning_rate)]
        return [
            Stage("risky", UNIMODAL, RiskyPool(), True),
            Stage("safe", of_pairs, SafePool(), True),
        ]
