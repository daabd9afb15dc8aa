"""The loss of PAR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from safeclip_jax.objectives import losses
from safeclip_jax.objectives.objective import Embedded, Objective, Settings, State


@dataclass(frozen=True)
class Perturbed(Objective):
    """CLIP's loss, less half of what image and text embeddings have moved since the start.

        CLIP(I, T) − ½ · (S(I, I⁰)·1[S(I, I⁰) ≤ τ] + S(T, T⁰)·1[S(T, T⁰) ≤ τ])

    S is the batch's mean squared distance of unit vectors, I⁰ and T⁰ those of the model that
    training began with. The logit scale stays as it is, as in the authors' code (`train.py`,
    `losses.py` of nmndeep/PerturbAndRecover).

    Attributes:
      distance: τ.
    """

    distance: float = 2.15
    name = "perturbed"
    anchored = True

    def loss(
        self, views: Sequence[Embedded], scale: jax.Array, state: State, settings: Settings
    ) -> tuple[jax.Array, State]:
        (image, text), (first_image, first_text) = views
        loss = losses.clip_loss(image, text, jax.lax.stop_gradient(scale), settings.chunks)
        for now, before in ((image, first_image), (text, first_text)):
            moved = jnp.mean(jnp.sum(jnp.square(now - before), axis=-1))
            loss -= 0.5 * jnp.where(moved <= self.distance, moved, 0.0)
        return loss, state
