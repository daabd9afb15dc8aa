"""Which of SafeCLIP's values resist an attacker who knows it? Validation split, one seed.

python -m safeclip_jax.grid --config=configs/grid_resists.py

What came of it: docs/threat_model.md.
"""

from ml_collections import ConfigDict

from configs import grid_adaptive, grid_demo
from configs.grid_demo import defense


def get_config():
    c = grid_adaptive.get_config()
    c.first_seed = 12
    c.cell.evaluate.split = "validation"
    chosen = ("nearest captions, 1 %", "10 %")
    c.attacks = ConfigDict({name: c.attacks[name] for name in chosen}, sort_keys=False)
    c.attacks["wanet"] = grid_demo.get_config().attacks["wanet"]
    c.attacks["wanet"].seeds = 1
    c.defenses = ConfigDict(sort_keys=False)
    c.defenses["SafeCLIP"] = _changed("safeclip")
    c.defenses["SafeCLIP, not augmented"] = _changed("safeclip", augment=False)
    c.defenses["SafeCLIP, cap 99 %"] = _changed("safeclip", cap=0.99)
    c.defenses["SafeCLIP, cap 99 %, adaptive"] = _changed("safeclip", cap=0.99, adaptive=True)
    c.defenses["SafeCLIP, no unimodal training"] = _changed(
        "safeclip", warmup_epochs=0, train_risky=False, fill=True
    )
    c.defenses["SafeCLIP+, not augmented"] = _changed("safeclip_plus", augment=False)
    c.defenses["SafeCLIP+"] = _changed("safeclip_plus")
    c.defenses["SafeCLIP+, cap 85 %"] = _changed("safeclip_plus", cap=0.85)
    return c


def _changed(name, **changes):
    return defense(name, **{name: changes})
