"""PAR: Singh, Croce & Hein, "Perturb and Recover", 2024 (CVPR 2026)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safeclip_jax.defenses.defense import Defense, Everything, Stage, fine_tunes
from safeclip_jax.objectives.perturbed import Perturbed
from safeclip_jax.settings.fields import at_least, setting


@dataclass(frozen=True)
class PAR(Defense):
    """Fine-tunes a finished, poisoned model on trusted pairs, away from what it was.

    The loss is `perturbed.Perturbed`: CLIP's, less how far the embeddings have moved, until that is
    τ. `init_from` names the poisoned run. Published: 250 k pairs, 10 epochs, a rate that
    rises to its peak over half of them, 3e-6 at a batch of 256 a GPU (`configs/par.py`).
    """

    distance: float = setting(2.15, "τ, mean squared distance that embeddings move", at_least(0))

    def check(self, starts_from: str, poisons: bool) -> None:
        fine_tunes("par", starts_from, poisons)

    def stages(self, epoch: int) -> Sequence[Stage]:
        return [Stage("fine-tuning", Perturbed(self.distance), Everything(), False)]
