"""SafeCLIP, an audit of its run, and plain CLIP on the pairs that are left: under every attack.

    python -m safeclip_jax.grid --config=experiments/configs/grid_audited.py

The cells are those of `configs/grid_demo.py`, one seed. What came of it: docs/threat_model.md.
"""

from ml_collections import ConfigDict

import safeclip_jax
from safeclip_jax.grid.rows import audited


def get_config():
    c = safeclip_jax.config("grid_demo")
    c.defenses = ConfigDict({"SafeCLIP": c.defenses["SafeCLIP"]}, sort_keys=False)
    c.defenses["CLIP, audited"] = audited("SafeCLIP")
    for attack in c.attacks.values():
        attack.seeds = 1
    return c
