"""BadNets and targeted poisoning against every defence on the emoji pairs, by hand.

python -m safeclip_jax.grid --config=experiments/configs/grid_emoji.py
"""

from ml_collections import ConfigDict

import safeclip_jax
from safeclip_jax.grid.rows import attack


def get_config():
    c = safeclip_jax.config("grid_demo")
    c.cell = _cell()
    c.attacks = ConfigDict(sort_keys=False)
    c.attacks["clean data"] = attack(1, rate=0.0)
    c.attacks["badnets"] = attack(1, rate=0.03)
    c.attacks["targeted"] = attack(1, kind="targeted", target="", images=24, rate=0.03)
    c.defenses["CleanCLIP"].changes.data.part = (0.855, 0.9)
    c.fast_attacks = ("badnets",)
    c.fast = ConfigDict({"attacks": {"badnets": {"seeds": 1}}})
    return c


def _cell():
    """`configs/emoji.py` with the grid's model; 5 % of its training part are CleanCLIP's."""
    c = safeclip_jax.config("experiments/configs/emoji.py")
    c.epochs = 30
    c.model.preset = "nano"
    c.data.part = (0.0, 0.855)
    c.score.kind = "cosine"
    c.evaluate.every = 0
    c.unimodal.bank_size = 512
    return c
