"""The loss of RoCLIP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax

from safeclip_jax.objectives import losses
from safeclip_jax.objectives.bank import empty_bank
from safeclip_jax.objectives.objective import Embedded, Objective, Settings, State


@dataclass(frozen=True)
class BankMatched(Objective):
    """Images with their nearest caption in a bank, see `losses.bank_matched_loss`."""

    name = "bank_matched"

    def initial(self, key: jax.Array, batch: int, width: int, settings: Settings) -> State:
        _, _, text_key = jax.random.split(key, 3)  # as of the unimodal losses
        bank = empty_bank(text_key, settings.bank_size // batch, batch, width)
        return {"text_bank": bank}

    def loss(
        self, views: Sequence[Embedded], scale: jax.Array, state: State, settings: Settings
    ) -> tuple[jax.Array, State]:
        ((image, text),) = views
        bank, chunks = state["text_bank"], settings.chunks
        loss, bank = losses.bank_matched_loss(image, text, bank, scale, chunks)
        return loss, state | {"text_bank": bank}


BANK_MATCHED = BankMatched()
