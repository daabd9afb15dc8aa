"""The loss of CleanCLIP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax

from safeclip_jax.objectives import losses
from safeclip_jax.objectives.objective import Embedded, Objective, Settings, State


@dataclass(frozen=True)
class ClipAndUnimodal(Objective):
    """The CLIP loss beside InfoNCE of augmented views, see `losses.clip_and_unimodal_loss`.

    Attributes:
      weight: λ of the unimodal part.
    """

    weight: float = 1.0
    name = "clip_and_unimodal"
    views = 2

    def loss(
        self, views: Sequence[Embedded], scale: jax.Array, state: State, settings: Settings
    ) -> tuple[jax.Array, State]:
        (image, text), (image_view, text_view) = views
        loss = losses.clip_and_unimodal_loss(
            image, text, image_view, text_view, scale, self.weight, settings.chunks
        )
        return loss, state
