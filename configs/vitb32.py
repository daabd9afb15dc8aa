"""The paper's setting with ViT-B/32: CC3M from a CSV file, 32 epochs, batch 512."""

import safeclip_jax


def get_config():
    c = safeclip_jax.config()
    c.data.source = "csv:data/cc3m/train.csv"
    c.data.pairs = 0
    c.model.preset = "vit_b32"
    c.model.dtype = "bfloat16"
    c.augment.picture_size = 256
    c.evaluate.source = ""
    return c
