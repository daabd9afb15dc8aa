"""Attacks of 2022 to 2026 on scenes against every defence, and what people do without one.

    python -m safeclip_jax.main --config=demo --config.defense=none --config.seed=99 \\
        --config.model.preset=nano --config.attack.rate=0 --workdir=runs/surrogate
    python -m safeclip_jax.grid --config=experiments/configs/grid_recent.py

The surrogate is BadCLIP's. The CLIPScore filter keeps 70 % here: of 12,000 pairs the published 30 %
leave too few to train on. PAR takes CleanCLIP's schedule, which was chosen at this size.
"""

from ml_collections import ConfigDict

import safeclip_jax
from safeclip_jax.grid.rows import attack, defense

SURROGATE = "runs/surrogate"


def get_config():
    c = safeclip_jax.config("grid_demo")
    c.attacks = ConfigDict(sort_keys=False)
    c.attacks["clean data"] = attack(1, rate=0.0)
    c.attacks["text backdoor"] = attack(3, kind="text_backdoor", rate=0.02)
    c.attacks["badclip"] = attack(
        3, trigger="badclip", surrogate=SURROGATE, badclip={"size": 0.125}
    )
    stripes = {"pattern": "stripes", "size": 0.125}
    c.attacks["stripes patch"] = attack(3, trigger="badnets", badnets=stripes)
    c.attacks["stripes"] = attack(1, trigger="stripes")
    c.attacks["triangles"] = attack(1, trigger="triangles")
    c.attacks["word"] = attack(1, trigger="word", rate=0.03)
    c.attacks["ftrojan"] = attack(1, trigger="ftrojan", rate=0.03, ftrojan={"magnitude": 100.0})
    c.attacks["bpp"] = attack(1, trigger="bpp", rate=0.03)
    c.attacks["two targets"] = attack(1, trigger="badnets+blended", target="heart+star", rate=0.02)
    c.attacks["semantic"] = attack(1, kind="semantic", attribute="purple", rate=0.02)
    c.defenses["CLIPScore filter"] = defense("clipscore", clipscore={"keep": 0.7})
    cleaning = c.defenses["CleanCLIP"].changes.to_dict() | {"defense": "par"}
    c.defenses["PAR"] = ConfigDict({"after": "CLIP", "changes": cleaning})
    c.fast_attacks = ("stripes patch", "text backdoor")
    c.fast = ConfigDict({"attacks": {name: {"seeds": 1} for name in c.fast_attacks}})
    return c
