"""The CLIP loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax

from safeclip_jax.objectives import losses
from safeclip_jax.objectives.objective import Embedded, Objective, Settings, State


@dataclass(frozen=True)
class Clip(Objective):
    """Bidirectional InfoNCE, see `losses.clip_loss`."""

    name = "clip"

    def loss(
        self, views: Sequence[Embedded], scale: jax.Array, state: State, settings: Settings
    ) -> tuple[jax.Array, State]:
        ((image, text),) = views
        return losses.clip_loss(image, text, scale, settings.chunks), state


CLIP = Clip()
