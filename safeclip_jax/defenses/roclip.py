"""RoCLIP: Yang, Gao & Mirzasoleiman, NeurIPS 2023."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safeclip_jax.defenses.defense import Defense, Everything, Stage
from safeclip_jax.objectives.bank_matched import BANK_MATCHED
from safeclip_jax.objectives.clip import CLIP
from safeclip_jax.settings.fields import at_least, setting


@dataclass(frozen=True)
class RoCLIP(Defense):
    """Every K-th epoch, images learn with their nearest caption in a bank of past captions.

    In epochs K, 2K, … (counted from 1) the loss is `losses.bank_matched_loss`,

        ½ · (InfoNCE(I, n) + InfoNCE(n, I)),  n_i = argmax_{t ∈ bank} I_i · t,

    which breaks the bond between a poisoned image and its own caption; in the other epochs it
    is the CLIP loss. Images and captions are augmented in all of them. The bank's size is
    `unimodal.bank_size` (published: 2 % of the data).

    Attributes:
      every: K, published as 2; smaller is safer and less accurate.
    """

    every: int = setting(2, "epochs between those with captions from the bank", at_least(1))

    def stages(self, epoch: int) -> Sequence[Stage]:
        if (epoch + 1) % self.every == 0:
            return [Stage("matched", BANK_MATCHED, Everything(), True)]
        return [Stage("clip", CLIP, Everything(), True)]
