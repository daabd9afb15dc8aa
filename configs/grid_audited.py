"""SafeCLIP, an audit of its run, and plain CLIP on the pairs that are left: under every attack.

    python -m safeclip_jax.grid --config=configs/grid_audited.py

The cells are those of `configs/grid_demo.py`, one seed. What came of it: docs/threat_model.md.
"""

from ml_collections import ConfigDict

from configs import grid_demo


def get_config():
    c = grid_demo.get_config()
    c.defenses = ConfigDict({"SafeCLIP": c.defenses["SafeCLIP"]}, sort_keys=False)
    c.defenses["CLIP, audited"] = grid_demo.audited("SafeCLIP")
    for attack in c.attacks.values():
        attack.seeds = 1
    return c
