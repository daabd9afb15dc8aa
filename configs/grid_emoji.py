"""BadNets and targeted poisoning against every defence on the emoji pairs, by hand.

python -m safeclip_jax.grid --config=configs/grid_emoji.py
"""

from ml_collections import ConfigDict

from configs import emoji, grid_demo


def get_config():
    c = grid_demo.get_config()
    c.cell = _cell()
    c.attacks = ConfigDict(sort_keys=False)
    c.attacks["clean data"] = grid_demo.attack(1, rate=0.0)
    c.attacks["badnets"] = grid_demo.attack(1, rate=0.03)
    c.attacks["targeted"] = grid_demo.attack(1, kind="targeted", target="", images=24, rate=0.03)
    c.defenses["CleanCLIP"].changes.data.part = (0.855, 0.9)
    c.fast_attacks = ("badnets",)
    c.fast = ConfigDict({"attacks": {"badnets": {"seeds": 1}}})
    return c


def _cell():
    """`configs/emoji.py` with the grid's model; 5 % of its training part are CleanCLIP's."""
    c = emoji.get_config()
    c.epochs = 30
    c.model.preset = "nano"
    c.data.part = (0.0, 0.855)
    c.score.kind = "cosine"
    c.evaluate.every = 0
    c.unimodal.bank_size = 512
    return c
