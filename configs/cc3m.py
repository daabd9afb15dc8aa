"""The paper's data with ViT-B/32: CC3M from the CSV or TSV file of its image paths."""

import safeclip_jax


def get_config():
    c = safeclip_jax.config("vitb32")
    c.data.source = "csv:data/cc3m/train.tsv"
    c.data.image_column = "filepath"
    c.data.caption_column = "title"
    return c
