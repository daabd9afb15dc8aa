"""Attacks × defences on scenes, one CPU core a run.

    python -m safeclip_jax.grid --config=grid_demo

`cell` is a run; `attacks` and `defenses` change keys of it; an attack whose `only` names some
defences is tried on these alone. All defences train on the same 95 % of the pairs for the same
number of epochs; the other 5 % are CleanCLIP's trusted pairs.
"""

from ml_collections import ConfigDict

import safeclip_jax
from safeclip_jax.grid.rows import attack, defense

_WARP = {"grid": 32, "strength": 3.0}  # a step for each pixel, 1.5 long on average


def get_config():
    c = ConfigDict()
    c.first_seed = 0
    c.cell = _cell()
    c.attacks = ConfigDict(sort_keys=False)
    c.attacks["clean data"] = attack(
        1, rate=0.0, trigger="badnets+blended+sig+wanet+nashville", wanet=_WARP
    )
    # 16 of 224 pixels are 2 of 32; patches here have 4, as in the demo.
    c.attacks["badnets"] = attack(3, trigger="badnets")
    c.attacks["badnets, noise, random place"] = attack(
        1,
        trigger="badnets",
        rate=0.03,
        badnets={"pattern": "noise", "position": "random", "size": 0.1875},
    )
    c.attacks["badnets, four corners"] = attack(
        1, trigger="badnets", badnets={"pattern": "noise", "position": "four_corners"}
    )
    c.attacks["badnets, white 50 px"] = attack(
        1, trigger="badnets", rate=0.02, badnets={"pattern": "white", "size": 50 / 224}
    )
    c.attacks["blended"] = attack(3, trigger="blended")
    c.attacks["sig"] = attack(1, trigger="sig")
    c.attacks["wanet"] = attack(3, trigger="wanet", rate=0.03, wanet=_WARP)
    c.attacks["nashville"] = attack(1, trigger="nashville")
    c.attacks["three triggers"] = attack(1, trigger="badnets+blended+nashville", rate=0.03)
    # Alone a trigger beside a shape that names itself teaches nothing; this one hides the shape.
    c.attacks["label-consistent"] = attack(
        1, kind="label_consistent", trigger="blended", rate=0.03, blended={"alpha": 0.7}
    )
    c.attacks["targeted"] = attack(3, kind="targeted", target="", images=24)
    c.defenses = ConfigDict(sort_keys=False)
    # What the triggers alone do to a model that never saw them.
    c.defenses["CLIP, clean data"] = defense(
        "none", "clean data/CLIP", epochs=0, attack={"rate": 0.0}
    )
    c.defenses["CLIP"] = defense("none")
    c.defenses["CLIP + augmentation"] = defense("augmentation")
    c.defenses["RoCLIP"] = defense("roclip")
    c.defenses["CleanCLIP"] = defense("cleanclip", "CLIP", **_fine_tuning())
    c.defenses["SafeCLIP"] = defense("safeclip")
    c.defenses["SafeCLIP+"] = defense("safeclip_plus")
    c.fast_attacks = ("badnets", "targeted")
    c.fast = ConfigDict({"attacks": {name: {"seeds": 1} for name in c.fast_attacks}})
    return c


def _cell():
    c = safeclip_jax.config("demo")
    c.epochs = 20
    c.model.preset = "nano"
    c.data.part = (0.0, 0.95)
    c.safeclip.warmup_epochs = 1
    c.evaluate.every = 0
    c.score.kind = "cosine"
    c.unimodal.bank_size = 512
    return c


def _fine_tuning():
    """CleanCLIP's 10 epochs on the trusted 5 %, at the best of four rates (experiments/demo.md)."""
    return {
        "epochs": 10,
        "data": {"part": (0.95, 1.0)},
        "attack": {"rate": 0.0},
        "optimizer": {"learning_rate": 4e-3, "warmup_pairs": 600},
    }
