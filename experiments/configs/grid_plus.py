"""What does each part of SafeCLIP+ do? One part changed at a time, on the validation split.

python -m safeclip_jax.grid --config=experiments/configs/grid_plus.py

All parts meet WaNet; some also meet the attacks for which they are there.
"""

from ml_collections import ConfigDict

import safeclip_jax
from safeclip_jax.grid.rows import defense

_MEANT_FOR = {
    "clean data": (
        *("relative score", "cap by the mixture alone", "safe score of a half"),
        *("first pool up to a half", "no rise"),
    ),
    "a class near the target, 2 %": (
        *("relative score", "cap by the mixture alone", "safe score of a half"),
        "first pool up to a half",
    ),
}


def get_config():
    c = safeclip_jax.config("grid_demo")
    c.first_seed = 12
    c.cell.evaluate.split = "validation"
    attacks = {**c.attacks, **safeclip_jax.config("experiments/configs/grid_adaptive.py").attacks}
    c.attacks = ConfigDict({"wanet": attacks["wanet"]}, sort_keys=False)
    for name, parts in _MEANT_FOR.items():
        c.attacks[name] = attacks[name]
        c.attacks[name].only = ("SafeCLIP+", *parts)
    c.attacks["wanet"].seeds = 1
    c.defenses = ConfigDict(sort_keys=False)
    c.fast_attacks = ("wanet",)
    c.fast = ConfigDict({"attacks": {"wanet": {"seeds": 1}}})
    c.defenses["SafeCLIP+"] = defense("safeclip_plus")
    c.defenses["relative score"] = _plus(score="relative", safe_score=0.45)
    c.defenses["no running mean"] = _plus(momentum=0.0)
    c.defenses["cap by the mixture alone"] = _plus(safe_score=float("inf"))
    c.defenses["safe score of a half"] = _plus(safe_score=0.5)
    c.defenses["first pool up to a half"] = _plus(first_cap=0.5)
    c.defenses["slow epoch at 2e-4"] = _plus(slow_learning_rate=2e-4)
    c.defenses["no rise"] = _plus(rising_epochs=0.0)
    return c


def _plus(**changes):
    return defense("safeclip_plus", safeclip_plus=changes)
