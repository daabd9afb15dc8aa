"""A semantic backdoor: what images show anyway, as a colour, is the trigger; no pixel changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from safeclip_jax.attacks import backdoor
from safeclip_jax.attacks.manifest import Manifest
from safeclip_jax.attacks.victims import mentioned
from safeclip_jax.data.sources.base import Source
from safeclip_jax.errors import UserError


def plan(source: Source, *, attribute: str, **options: Any) -> Manifest:
    """A backdoor on pairs whose caption mentions the attribute, without a trigger on the image.

    Args:
      source: the clean pairs.
      attribute: a word or words.
      **options: see `backdoor.plan`.

    Raises:
      UserError: if there is no attribute, no caption mentions it, or as there.

    References:
      Bagdasaryan et al., "How To Backdoor Federated Learning", AISTATS 2020, section 3: semantic
      backdoors.
    """
    if not attribute.strip():
        raise UserError("attack.kind=semantic needs attack.attribute, such as 'red'")
    if not mentioned(source.captions, attribute).any():
        raise UserError(f"attack.attribute={attribute!r} is in none of the {len(source)} captions")
    found = backdoor.plan(source, triggers=[""], victims=attribute, **options)
    return replace(found, kind="semantic")
