"""No defence: plain CLIP, as in the literature without augmentation, or with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from safeclip_jax.defenses.plan import Stage
from safeclip_jax.pools import Pools


@dataclass(frozen=True)
class NoDefense:
    """The CLIP loss on every pair in every epoch."""

    augment: bool = False

    def needs_scores(self, epoch: int) -> bool:
        return False

    def pools(self, epoch: int, scores: np.ndarray, previous: Pools | None) -> Pools:
        raise NotImplementedError("plain CLIP keeps no pools")

    def stages(self, epoch: int, pairs: np.ndarray, pools: Pools | None) -> list[Stage]:
        return [Stage("clip", "clip", pairs, self.augment)]
