"""The unimodal losses of SafeCLIP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax

from safeclip_jax.objectives import losses
from safeclip_jax.objectives.bank import empty_bank
from safeclip_jax.objectives.objective import Embedded, Objective, Settings, State


@dataclass(frozen=True)
class Unimodal(Objective):
    """Each modality alone, against its nearest neighbours in a bank: `losses.unimodal_loss`."""

    name = "unimodal"
    views, fixed, plain = 2, 1, False

    def initial(self, key: jax.Array, batch: int, width: int, settings: Settings) -> State:
        _, image_key, text_key = jax.random.split(key, 3)  # the first one is the model's
        shape = settings.bank_size // batch, batch, width
        return {
            "image_bank": empty_bank(image_key, *shape),
            "text_bank": empty_bank(text_key, *shape),
        }

    def loss(
        self, views: Sequence[Embedded], scale: jax.Array, state: State, settings: Settings
    ) -> tuple[jax.Array, State]:
        (image_a, text_a), (image_b, text_b) = views
        chunks = settings.chunks
        images, texts = state["image_bank"], state["text_bank"]
        of_images, images = losses.unimodal_loss(image_a, image_b, images, scale, chunks)
        of_texts, texts = losses.unimodal_loss(text_a, text_b, texts, scale, chunks)
        return (of_images + of_texts) / 2, state | {"image_bank": images, "text_bank": texts}


UNIMODAL = Unimodal()
