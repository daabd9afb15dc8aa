"""SafeCLIP+ with an epoch that scouts for strange pictures, under every attack.

    python -m safeclip_jax.grid --config=configs/grid_scouting.py

The attacks are those of `configs/grid_demo.py` and, one seed each, of `configs/grid_adaptive.py`.
What came of it: docs/safeclip_plus.md.
"""

from ml_collections import ConfigDict

from configs import grid_adaptive, grid_demo


def get_config():
    c = grid_demo.get_config()
    for name, attack in grid_adaptive.get_config().attacks.items():
        c.attacks[name] = attack
    c.defenses = ConfigDict({"SafeCLIP+, scouting": scouting()})
    c.fast_attacks = ("label-consistent",)
    c.fast = ConfigDict({"attacks": {"label-consistent": {"seeds": 1}}})
    return c


def scouting():
    """Scored in batches of 1024, where a pair scores less than in the demo's of 128."""
    plus = {"scout_epochs": 1, "slow_learning_rate": 5e-4, "rise_epochs": 1.0, "likely": 0.45}
    return grid_demo.defense("safeclip_plus", score={"batch_size": 1024}, safeclip_plus=plus)
