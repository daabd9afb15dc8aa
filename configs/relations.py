"""The demo on harder scenes: two of 40 shapes, captions that leave things open, 64 pixels."""

import safeclip_jax


def get_config():
    c = safeclip_jax.config("demo")
    c.data.source = "relations"
    c.data.pairs = 24_000
    c.data.vocab_size = 600
    c.data.context = 20
    c.data.tokenizer = "train"
    c.model.preset = "nano"
    c.model.image_size = 64
    c.optimizer.warmup_pairs = 24_000
    c.evaluate.source = "relations"
    return c
