"""ViT-B/32 on WebDataset shards as img2dataset writes them."""

from configs import vitb32


def get_config():
    c = vitb32.get_config()
    c.data.source = "webdataset:data/cc12m/{00000..01242}.tar"
    return c
