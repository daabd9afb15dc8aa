"""CleanCLIP: Bansal et al., ICCV 2023."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from safeclip_jax.defenses.plan import Stage, Unscored
from safeclip_jax.defenses.pools import Pools


@dataclass(frozen=True)
class CleanCLIP(Unscored):
    """Fine-tunes a finished, poisoned model on a small share of trusted pairs.

    The loss is `losses.clip_and_unimodal_loss` on all pairs, which are to be clean:

        CLIP(I, T) + λ · ½ · (InfoNCE(I, I') + InfoNCE(T, T'))

    with augmented views I', T'. `init_from` names the poisoned run. Published: 100 k pairs of
    CC3M, 10 epochs, batch 64, peak rate 1e-5 after 50 steps of warm-up, λ = 1
    (`configs/cleanclip.py`).
    """

    def stages(self, epoch: int, pairs: np.ndarray, pools: Pools | None) -> list[Stage]:
        return [Stage("fine-tuning", "clip_and_unimodal", pairs, False)]
