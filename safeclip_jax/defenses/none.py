"""No defence: plain CLIP, as in the literature without augmentation, or with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safeclip_jax.defenses.defense import Defense, Everything, Stage
from safeclip_jax.objectives.clip import CLIP


@dataclass(frozen=True)
class NoDefense(Defense):
    """The CLIP loss on every pair in every epoch."""

    augment: bool = False

    def stages(self, epoch: int) -> Sequence[Stage]:
        return [Stage("clip", CLIP, Everything(), self.augment)]
