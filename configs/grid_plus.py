"""What does each part of SafeCLIP+ do? One part changed at a time, on the validation split.

python -m safeclip_jax.grid --config=configs/grid_plus.py

All parts meet WaNet; some also meet the attacks for which they are there.
"""

from ml_collections import ConfigDict

from configs import grid_adaptive, grid_demo

_MEANT_FOR = {
    "clean data": (
        *("relative score", "cap by the mixture alone", "likely from a half"),
        *("first pool up to a half", "no rise"),
    ),
    "label-consistent": ("no scouting", "neither scouting nor fence"),
    "nearest captions, 1 %": ("not augmented",),
    "a class near the target, 2 %": (
        *("relative score", "cap by the mixture alone", "likely from a half"),
        "first pool up to a half",
    ),
}


def get_config():
    c = grid_demo.get_config()
    c.first_seed = 12
    c.cell.evaluate.split = "validation"
    attacks = {**c.attacks, **grid_adaptive.get_config().attacks}
    c.attacks = ConfigDict({"wanet": attacks["wanet"]}, sort_keys=False)
    for name, parts in _MEANT_FOR.items():
        c.attacks[name] = attacks[name]
        c.attacks[name].only = ("SafeCLIP+", *parts)
    c.attacks["wanet"].seeds, c.attacks["label-consistent"].seeds = 1, 3
    c.defenses = ConfigDict(sort_keys=False)
    c.fast_attacks = ("wanet",)
    c.fast = ConfigDict({"attacks": {"wanet": {"seeds": 1}}})
    c.defenses["SafeCLIP+"] = grid_demo.defense("safeclip_plus")
    c.defenses["relative score"] = _plus(score="relative", likely=0.45)
    c.defenses["cosine score"] = _plus(score="cosine", likely=0.0)
    c.defenses["flipped view scored"] = grid_demo.defense(
        "safeclip_plus", score={"view": "augmented"}
    )
    c.defenses["no running mean"] = _plus(momentum=0.0)
    c.defenses["cap by the mixture alone"] = _plus(likely=0.0)
    c.defenses["likely from a half"] = _plus(likely=0.5)
    c.defenses["cap fixed at 97 %"] = _plus(adaptive=False, cap=0.97)
    c.defenses["first pool up to a half"] = _plus(first_cap=0.5)
    c.defenses["slow epoch at 2e-4"] = _plus(slow_learning_rate=2e-4)
    c.defenses["no rise"] = _plus(rise_epochs=0.0)
    c.defenses["no second pass"] = _plus(fill=False)
    c.defenses["a warm-up epoch"] = _plus(warmup_epochs=1)
    c.defenses["risky pool trained"] = _plus(train_risky=True)
    c.defenses["not augmented"] = _plus(augment=False)
    c.defenses["no scouting"] = _plus(scout_epochs=0)
    c.defenses["neither scouting nor fence"] = _plus(scout_epochs=0, fence=0.0)
    c.defenses["scored in batches of 128"] = _plus(score_batch=128)
    return c


def _plus(**changes):
    return grid_demo.defense("safeclip_plus", safeclip_plus=changes)
