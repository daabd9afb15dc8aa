"""Defences by name. A defence is a plan: (epoch, pair scores) → the stages of that epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from safeclip_jax.defenses.cleanclip import CleanCLIP
from safeclip_jax.defenses.none import NoDefense
from safeclip_jax.defenses.plan import Defense
from safeclip_jax.defenses.roclip import RoCLIP
from safeclip_jax.defenses.safeclip import SafeCLIP
from safeclip_jax.errors import UserError, unknown


def _safeclip(config: ConfigDict) -> Defense:
    values = config[config.defense].to_dict() | {"score": score_kind(config)}
    values["score_batch"] = score_batch(config)
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
    """The score of the pairs: the defence's own, or where it has none `score.kind`."""
    return _own(config, "score") or config.score.kind


def score_batch(config: ConfigDict) -> int:
    """Pairs that are scored together: the defence's own number, or `score.batch_size`."""
    return _own(config, "score_batch") or config.score.batch_size


def _own(config: ConfigDict, key: str) -> Any:
    return config[config.defense].get(key) if config.defense in config else None


def create(config: ConfigDict) -> Defense:
    """Returns the defence that `config.defense` names; `UserError` if there is none."""
    if config.defense not in DEFENSES:
        raise unknown("defense", config.defense, DEFENSES)
    return DEFENSES[config.defense](config)
