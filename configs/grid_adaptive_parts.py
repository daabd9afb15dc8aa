"""Which part of SafeCLIP withstands poisons with the nearest captions? On validation scenes.

    python -m safeclip_jax.grid --config=configs/grid_adaptive_parts.py

SafeCLIP+ fails there and SafeCLIP does not; between them lie the changes below. What came of it:
docs/threat_model.md.
"""

from ml_collections import ConfigDict

from configs import grid_adaptive
from configs.grid_demo import defense


def get_config():
    c = grid_adaptive.get_config()
    c.first_seed, c.cell.evaluate.split = 12, "validation"
    c.attacks = ConfigDict({"nearest captions, 1 %": c.attacks["nearest captions, 1 %"]})
    c.defenses = ConfigDict(sort_keys=False)
    c.defenses["SafeCLIP"] = defense("safeclip")
    c.defenses["SafeCLIP, safe pool twice"] = defense("safeclip", safeclip={"fill": True})
    c.defenses["SafeCLIP, no augmentation"] = defense("safeclip", safeclip={"augment": False})
    c.defenses["SafeCLIP+"] = defense("safeclip_plus")
    c.defenses["SafeCLIP+, augmentation"] = defense(
        "safeclip_plus", safeclip_plus={"augment": True}
    )
    c.defenses["SafeCLIP+, cap 85 %"] = defense(
        "safeclip_plus", safeclip_plus={"cap": 0.85, "adaptive": False}
    )
    c.fast_attacks = ("nearest captions, 1 %",)
    c.fast = ConfigDict({"attacks": {"nearest captions, 1 %": {"seeds": 1}}})
    return c
