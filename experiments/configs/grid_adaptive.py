"""An attacker who knows SafeCLIP: poisons made to look alike, common, or repeated. On scenes.

    python -m safeclip_jax.grid --config=experiments/configs/grid_adaptive.py

The cells are those of `configs/grid_demo.py`, one seed. What came of it: docs/threat_model.md.
"""

from ml_collections import ConfigDict

import safeclip_jax
from safeclip_jax.grid.rows import attack


def get_config():
    c = safeclip_jax.config("grid_demo")
    c.attacks = ConfigDict(sort_keys=False)
    c.attacks["5 %"] = attack(1, rate=0.05)
    c.attacks["10 %"] = attack(1, rate=0.1)
    c.attacks["nearest captions, 1 %"] = attack(1, captions="nearest")
    c.attacks["nearest captions, 5 %"] = attack(1, captions="nearest", rate=0.05)
    c.attacks["half-true captions, 1 %"] = attack(1, captions="both")
    c.attacks["half-true captions, 5 %"] = attack(1, captions="both", rate=0.05)
    c.attacks["few images, many captions, 2 %"] = attack(1, copies=20, rate=0.02)
    c.attacks["a class near the target, 2 %"] = attack(
        1, target="ring", victims="circle", captions="nearest", rate=0.02
    )
    # With little of the trigger a picture is less strange, with much the poisons are near to each
    # other: fewer are beyond the fence of SafeCLIP+ than at 0.7.
    for alpha in (0.5, 0.85):
        c.attacks[f"label-consistent, {alpha:.0%} trigger, 3 %"] = attack(
            1, kind="label_consistent", trigger="blended", rate=0.03, blended={"alpha": alpha}
        )
    chosen = ("CLIP", "SafeCLIP", "SafeCLIP+")
    c.defenses = ConfigDict({name: c.defenses[name] for name in chosen}, sort_keys=False)
    c.fast_attacks = ("nearest captions, 1 %",)
    c.fast = ConfigDict({"attacks": {"nearest captions, 1 %": {"seeds": 1}}})
    return c
