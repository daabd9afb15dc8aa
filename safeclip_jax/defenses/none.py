"""No defence: plain CLIP, as in the literature without augmentation, or with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from safeclip_jax.defenses.plan import Stage, Unscored
from safeclip_jax.defenses.pools import Pools


@dataclass(frozen=True)
class NoDefense(Unscored):
    """The CLIP loss on every pair in every epoch."""

    augment: bool = False

    def stages(self, epoch: int, pairs: np.ndarray, pools: Pools | None) -> list[Stage]:
        return [Stage("clip", "clip", pairs, self.augment)]
