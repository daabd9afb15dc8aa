"""Keys that configs had once: their new names, or why they are gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safeclip_jax.errors import UserError

# Old full names to new ones.
RENAMED = {
    "safeclip_plus.scout_epochs": "safeclip_plus.pilot_epochs",
    "safeclip_plus.scout_learning_rate": "safeclip_plus.pilot_learning_rate",
    "safeclip_plus.scout_share": "safeclip_plus.pilot_share",
    "safeclip_plus.rise_epochs": "safeclip_plus.rising_epochs",
    "safeclip_plus.likely": "safeclip_plus.safe_score",
    "safeclip_plus.fence": "safeclip_plus.outlier_iqr",
}
_OF_PLUS = "it belongs to SafeCLIP+: set defense=safeclip_plus"
_ALWAYS = "SafeCLIP+ always does that"
# Old full names to the values that still hold, and to what replaced all others.
GONE: dict[str, tuple[tuple[Any, ...], str]] = {
    "score.view": (("plain",), "images are scored as they are"),
    "attack.badnets.margin": ((0.0,), "patches lie at the edge"),
    "safeclip.score": (("",), "set score.kind"),
    "safeclip.score_batch": ((0,), "set score.batch_size"),
    "safeclip.scout_epochs": ((0,), _OF_PLUS),
    "safeclip.scout_learning_rate": ((2.5e-5,), _OF_PLUS),
    "safeclip.scout_share": ((0.85,), _OF_PLUS),
    "safeclip.rise_epochs": ((0.0,), _OF_PLUS),
    "safeclip.adaptive": ((False,), _OF_PLUS),
    "safeclip.likely": ((0.0,), _OF_PLUS),
    "safeclip.momentum": ((0.0,), _OF_PLUS),
    "safeclip.augment": ((True,), "SafeCLIP augments its CLIP stages, too"),
    "safeclip.train_risky": ((True,), "SafeCLIP trains the risky pool"),
    "safeclip.fence": ((0.0,), _OF_PLUS),
    "safeclip.fill": ((False,), _OF_PLUS),
    "safeclip_plus.score_batch": ((1024,), "a score says how many pairs it compares"),
    "safeclip_plus.warmup_epochs": ((0,), "SafeCLIP+ has no unimodal warm-up"),
    "safeclip_plus.adaptive": ((True,), _ALWAYS),
    "safeclip_plus.rule": (("monotone",), _ALWAYS),
    "safeclip_plus.augment": ((True,), _ALWAYS),
    "safeclip_plus.train_risky": ((False,), "its risky pool rests"),
    "safeclip_plus.fill": ((True,), _ALWAYS),
}
# Keys that came later, by section, and what runs from before did.
LATER = {"published": {"augmented_scores": False}}
_REMAT = {False: "none", True: "blocks"}


def renewed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values under today's names.

    Raises:
      UserError: if a key is gone and has a value that nothing does any more.
    """
    found = _renewed(values, "", str(values.get("defense", "")))
    for section, later in LATER.items():
        if isinstance(found.get(section), dict):
            found[section] = later | found[section]
    return found


def _renewed(values: Mapping[str, Any], prefix: str, defense: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found[key] = _renewed(value, f"{name}.", defense)
        elif name in GONE:
            _check_gone(name, value, defense)
        elif name == "model.remat" and isinstance(value, bool):
            found[key] = _REMAT[value]
        else:
            found[RENAMED.get(name, name).removeprefix(prefix)] = value
    return found


def _check_gone(name: str, value: Any, defense: str) -> None:
    """A run of another defence may have what values it likes."""
    kept, instead = GONE[name]
    section = name.partition(".")[0]
    if value not in kept and section in (defense, "score", "attack"):
        raise UserError(f"{name}={value!r} is gone: {instead}")
