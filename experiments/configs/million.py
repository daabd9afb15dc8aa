"""SafeCLIP at the paper's number of pairs: a million scenes of 64 pixels, 0.05 % poisoned.

    python -m safeclip_jax.main --config=experiments/configs/million.py

For an accelerator; `experiments/million.py` draws the scenes first and chooses the epochs.
"""

import safeclip_jax


def get_config():
    c = safeclip_jax.config("demo")
    c.epochs = 8
    c.batch_size = 1024
    c.data.pairs = 1_000_000
    c.data.seed = 0
    c.data.cache_gib = 12.0
    c.model.preset = "vit_ti16"
    c.model.image_size = 64
    c.model.dtype = "bfloat16"
    c.optimizer.learning_rate = 1e-3
    c.optimizer.warmup_pairs = 500_000
    c.unimodal.bank_size = 16_384
    c.safeclip.warmup_epochs = 1
    c.safeclip.slow_learning_rate = 5e-5
    c.safeclip.growth = 0.1
    c.safeclip_plus.pilot_learning_rate = 1e-4
    c.safeclip_plus.slow_learning_rate = 5e-5
    c.score.batch_size = 1024
    c.attack.rate = 0.0005
    c.attack.badnets.size = 16 / 224
    c.evaluate.every = 1
    return c
