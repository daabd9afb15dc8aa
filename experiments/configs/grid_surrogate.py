"""Poisons that an attacker's own model chose, after the model was trained on scenes of its own:

    python -m safeclip_jax.main --config=demo --config.defense=none --config.seed=99 \\
        --config.model.preset=nano --config.attack.rate=0 --workdir=runs/surrogate
    python -m safeclip_jax.grid --config=experiments/configs/grid_surrogate.py

What came of it: docs/threat_model.md.
"""

from ml_collections import ConfigDict

import safeclip_jax
from safeclip_jax.grid.rows import attack

SURROGATE = "runs/surrogate"


def get_config():
    c = safeclip_jax.config("experiments/configs/grid_adaptive.py")
    chosen = {"captions": "surrogate", "surrogate": SURROGATE}
    c.attacks = ConfigDict(sort_keys=False)
    c.attacks["chosen by a surrogate, 1 %"] = attack(1, **chosen)
    c.attacks["chosen by a surrogate, 5 %"] = attack(1, rate=0.05, **chosen)
    c.fast_attacks = ("chosen by a surrogate, 1 %",)
    c.fast = ConfigDict({"attacks": {"chosen by a surrogate, 1 %": {"seeds": 1}}})
    return c
