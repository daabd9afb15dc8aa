"""ViT-B/32 on COCO captions from TFDS: 82,783 images with five captions each."""

import safeclip_jax


def get_config():
    c = safeclip_jax.config("vitb32")
    c.data.source = "tfds:coco_captions"
    c.data.caption_column = "captions.text"
    c.data.data_dir = "data/tfds"
    return c
