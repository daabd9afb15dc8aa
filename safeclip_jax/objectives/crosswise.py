"""The CLIP loss of two views of each pair, as the authors' code of SafeCLIP takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax

from safeclip_jax.objectives import losses
from safeclip_jax.objectives.objective import Embedded, Objective, Settings, State


@dataclass(frozen=True)
class Crosswise(Objective):
    """½ · (InfoNCE(I, T') + InfoNCE(T, I')) of views (I, T) and (I', T'), `train.py:64` there."""

    name = "crosswise"
    views = 2
    plain = False

    def loss(
        self, views: Sequence[Embedded], scale: jax.Array, state: State, settings: Settings
    ) -> tuple[jax.Array, State]:
        (image_a, text_a), (image_b, text_b) = views
        of_images = losses.info_nce(image_a, text_b, scale, settings.chunks)
        of_texts = losses.info_nce(text_a, image_b, scale, settings.chunks)
        return (of_images + of_texts) / 2, state


CROSSWISE = Crosswise()
