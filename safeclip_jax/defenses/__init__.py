"""Defences by name. A defence is a plan: (epoch, pair scores) → the stages of that epoch."""

from __future__ import annotations

from collections.abc import Callable

from ml_collections import ConfigDict

from safeclip_jax.defenses.none import NoDefense
from safeclip_jax.defenses.plan import Defense
from safeclip_jax.defenses.safeclip import SafeCLIP
from safeclip_jax.errors import unknown


def _safeclip(config: ConfigDict) -> Defense:
    return SafeCLIP(seed=config.seed, **config.safeclip)


DEFENSES: dict[str, Callable[[ConfigDict], Defense]] = {
    "none": lambda config: NoDefense(),
    "augmentation": lambda config: NoDefense(augment=True),
    "safeclip": _safeclip,
}


def create(config: ConfigDict) -> Defense:
    """Returns the defence that `config.defense` names; `UserError` if there is none."""
    if config.defense not in DEFENSES:
        raise unknown("defense", config.defense, DEFENSES)
    return DEFENSES[config.defense](config)
