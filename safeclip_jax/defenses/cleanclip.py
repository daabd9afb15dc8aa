"""CleanCLIP: Bansal et al., ICCV 2023."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safeclip_jax.defenses.defense import Defense, Everything, Stage, fine_tunes
from safeclip_jax.objectives.clip_and_unimodal import ClipAndUnimodal
from safeclip_jax.settings.fields import at_least, setting


@dataclass(frozen=True)
class CleanCLIP(Defense):
    """Fine-tunes a finished, poisoned model on a small share of trusted pairs.

    The loss is `losses.clip_and_unimodal_loss` on all pairs, which are to be clean:

        CLIP(I, T) + λ · ½ · (InfoNCE(I, I') + InfoNCE(T, T'))

    with augmented views I', T'. `init_from` names the poisoned run. Published: 100 k pairs of
    CC3M, 10 epochs, batch 64, peak rate 1e-5 after 50 steps of warm-up, λ = 1
    (`configs/cleanclip.py`).
    """

    unimodal_weight: float = setting(1.0, "λ of the unimodal losses beside CLIP's", at_least(0))

    def check(self, starts_from: str, poisons: bool) -> None:
        fine_tunes("cleanclip", starts_from, poisons)

    def stages(self, epoch: int) -> Sequence[Stage]:
        objective = ClipAndUnimodal(self.unimodal_weight)
        return [Stage("fine-tuning", objective, Everything(), False)]
