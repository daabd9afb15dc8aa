"""What does each part of SafeCLIP+ do? One part changed at a time, on the validation split.

python -m safeclip_jax.grid --config=configs/grid_plus.py
"""

from ml_collections import ConfigDict

from configs import grid_demo


def get_config():
    c = grid_demo.get_config()
    c.first_seed = 12
    c.cell.evaluate.split = "validation"
    for name in list(c.attacks):
        if name in ("blended", "wanet"):
            c.attacks[name].seeds = 1
        else:
            del c.attacks[name]
    c.defenses = ConfigDict(sort_keys=False)
    c.defenses["SafeCLIP+"] = grid_demo.defense("safeclip_plus")
    c.defenses["cosine score"] = grid_demo.defense("safeclip_plus", score={"kind": "cosine"})
    c.defenses["flipped view scored"] = grid_demo.defense(
        "safeclip_plus", score={"view": "augmented"}
    )
    c.defenses["no running mean"] = _plus(momentum=0.0)
    c.defenses["cap fixed at 97 %"] = _plus(adaptive=False, cap=0.97)
    c.defenses["first pool up to 85 %"] = _plus(first_cap=0.85)
    c.defenses["no second pass"] = _plus(fill=False)
    c.defenses["a warm-up epoch"] = _plus(warmup_epochs=1)
    c.defenses["risky pool trained"] = _plus(train_risky=True)
    c.defenses["not augmented"] = _plus(augment=False)
    return c


def _plus(**changes):
    return grid_demo.defense("safeclip_plus", safeclip_plus=changes)
