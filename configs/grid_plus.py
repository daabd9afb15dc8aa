"""What does each part of SafeCLIP+ do? One part changed at a time, on the validation split.

python -m safeclip_jax.grid --config=configs/grid_plus.py
"""

from ml_collections import ConfigDict

from configs import grid_adaptive, grid_demo


def get_config():
    c = grid_demo.get_config()
    c.first_seed = 12
    c.cell.evaluate.split = "validation"
    nearest = grid_adaptive.get_config().attacks["nearest captions, 1 %"]
    chosen = {name: c.attacks[name] for name in ("wanet", "label-consistent")}
    c.attacks = ConfigDict({**chosen, "nearest captions, 1 %": nearest}, sort_keys=False)
    c.attacks["wanet"].seeds = 1
    c.defenses = ConfigDict(sort_keys=False)
    c.fast_attacks = ("wanet",)
    c.fast = ConfigDict({"attacks": {"wanet": {"seeds": 1}}})
    c.defenses["SafeCLIP+"] = grid_demo.defense("safeclip_plus")
    c.defenses["cosine score"] = grid_demo.defense(
        "safeclip_plus", score={"kind": "cosine"}, safeclip_plus={"likely": 0.0}
    )
    c.defenses["flipped view scored"] = grid_demo.defense(
        "safeclip_plus", score={"view": "augmented"}
    )
    c.defenses["no running mean"] = _plus(momentum=0.0)
    c.defenses["cap by the mixture alone"] = _plus(likely=0.0)
    c.defenses["likely from 0.5"] = _plus(likely=0.5)
    c.defenses["cap fixed at 97 %"] = _plus(adaptive=False, cap=0.97)
    c.defenses["first pool up to 85 %"] = _plus(first_cap=0.85)
    c.defenses["no second pass"] = _plus(fill=False)
    c.defenses["a warm-up epoch"] = _plus(warmup_epochs=1)
    c.defenses["risky pool trained"] = _plus(train_risky=True)
    c.defenses["not augmented"] = _plus(augment=False)
    c.defenses["no fence"] = _plus(fence=0.0)
    return c


def _plus(**changes):
    return grid_demo.defense("safeclip_plus", safeclip_plus=changes)
