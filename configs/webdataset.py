"""ViT-B/32 on WebDataset shards as img2dataset writes them."""

import safeclip_jax


def get_config():
    c = safeclip_jax.config("vitb32")
    c.data.source = "webdataset:data/cc12m/{00000..01242}.tar"
    return c
