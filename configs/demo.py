"""SafeCLIP on poisoned scenes: a few minutes on two CPU cores."""

import safeclip_jax


def get_config():
    c = safeclip_jax.config()
    c.epochs = 20
    c.batch_size = 64
    c.data.pairs = 12_000
    c.data.vocab_size = 400
    c.data.wordnet = ""  # the same figures on every machine
    c.data.context = 16
    c.model.preset = "tiny"
    c.model.image_size = 32
    c.optimizer.learning_rate = 2e-3
    c.optimizer.warmup_pairs = 12_000
    c.augment.crop_area = (0.85, 1.0)
    c.augment.jitter = 0.0
    c.augment.grayscale = 0.0
    c.augment.blur = 0.0
    c.unimodal.bank_size = 1024
    c.safeclip.warmup_epochs = 2
    c.safeclip.slow_learning_rate = 5e-4
    c.safeclip.growth = 0.15
    c.safeclip_plus.pilot_learning_rate = 1e-3
    c.safeclip_plus.slow_learning_rate = 5e-4
    c.safeclip_plus.growth = 0.08
    c.score.kind = "relative"
    c.score.batch_size = 128
    c.attack.rate = 0.01
    c.attack.badnets.size = 0.125
    c.evaluate.every = 5
    return c
