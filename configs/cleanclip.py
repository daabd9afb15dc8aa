"""CleanCLIP's fine-tuning as published: 100,000 clean pairs, 10 epochs, batch 64, peak 1e-5.

--config=cleanclip --config.init_from=RUN --config.data.source=csv:clean.csv
"""

import safeclip_jax


def get_config():
    c = safeclip_jax.config("vitb32")
    c.defense = "cleanclip"
    c.augment.policy = "autoaugment"
    c.epochs = 10
    c.batch_size = 64
    c.data.pairs = 100_000
    c.optimizer.learning_rate = 1e-5
    c.optimizer.warmup_pairs = 50 * 64
    return c
