"""RoCLIP: Yang, Gao & Mirzasoleiman, NeurIPS 2023."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from safeclip_jax.defenses.plan import Stage, Unscored
from safeclip_jax.defenses.pools import Pools
from safeclip_jax.errors import UserError


@dataclass(frozen=True)
class RoCLIP(Unscored):
    """Every K-th epoch, images learn with their nearest caption in a bank of past captions.

    In epochs K, 2K, … (counted from 1) the loss is `losses.bank_matched_loss`,

        ½ · (InfoNCE(I, n) + InfoNCE(n, I)),  n_i = argmax_{t ∈ bank} I_i · t,

    which breaks the bond between a poisoned image and its own caption; in the other epochs it
    is the CLIP loss. Images and captions are augmented in all of them. The bank's size is
    `unimodal.bank_size` (published: 2 % of the data).

    Attributes:
      every: K, published as 2; smaller is safer and less accurate.
    """

    every: int = 2

    def __post_init__(self) -> None:
        if self.every < 1:
            raise UserError(f"roclip.every={self.every}: at least 1 is needed")

    def stages(self, epoch: int, pairs: np.ndarray, pools: Pools | None) -> list[Stage]:
        if (epoch + 1) % self.every == 0:
            return [Stage("matched", "bank_matched", pairs, True)]
        return [Stage("clip", "clip", pairs, True)]
