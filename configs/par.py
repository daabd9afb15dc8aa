"""PAR's fine-tuning as published: 250,000 clean pairs, 10 epochs, batch 256, peak 3e-6.

--config=par --config.init_from=RUN --config.data.source=csv:clean.csv
"""

import safeclip_jax

PAIRS, EPOCHS = 250_000, 10


def get_config():
    c = safeclip_jax.config("vitb32")
    c.defense = "par"
    c.epochs = EPOCHS
    c.batch_size = 256
    c.data.pairs = PAIRS
    c.optimizer.learning_rate = 3e-6
    c.optimizer.warmup_pairs = PAIRS * EPOCHS // 2
    c.optimizer.weight_decay = 1e-4
    c.optimizer.b2 = 0.98
    return c
