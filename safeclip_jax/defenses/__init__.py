"""Defences by name. A defence is a plan: (epoch, pair scores) → the stages of that epoch."""

from __future__ import annotations

from collections.abc import Callable

from ml_collections import ConfigDict

from safeclip_jax.defenses.cleanclip import CleanCLIP
from safeclip_jax.defenses.none import NoDefense
from safeclip_jax.defenses.plan import Defense
from safeclip_jax.defenses.roclip import RoCLIP
from safeclip_jax.defenses.safeclip import SafeCLIP
from safeclip_jax.errors import UserError, unknown


def _safeclip(config: ConfigDict) -> Defense:
    values = config[config.defense]
    if values.likely and score_kind(config) == "cosine":
        raise UserError(
            f"{config.defense}.likely={values.likely} is no cosine: set score.kind=typical, or "
            f"{config.defense}.likely=0"
        )
    return SafeCLIP(seed=config.seed, **values)


def _cleanclip(config: ConfigDict) -> Defense:
    if not config.init_from:
        raise UserError("defense=cleanclip fine-tunes a finished run: set init_from to its folder")
    if config.attack.rate or config.attack.count:
        raise UserError("defense=cleanclip trains on trusted pairs: set attack.rate and count to 0")
    return CleanCLIP()


DEFENSES: dict[str, Callable[[ConfigDict], Defense]] = {
    "none": lambda config: NoDefense(),
    "augmentation": lambda config: NoDefense(augment=True),
    "roclip": lambda config: RoCLIP(**config.roclip),
    "cleanclip": _cleanclip,
    "safeclip": _safeclip,
    "safeclip_plus": _safeclip,
}


def score_kind(config: ConfigDict) -> str:
    """`score.kind`, or where it is empty the defence's own."""
    return config.score.kind or ("typical" if config.defense == "safeclip_plus" else "cosine")


def create(config: ConfigDict) -> Defense:
    """Returns the defence that `config.defense` names; `UserError` if there is none."""
    if config.defense not in DEFENSES:
        raise unknown("defense", config.defense, DEFENSES)
    return DEFENSES[config.defense](config)
