"""ViT-B/32 on COCO captions from TFDS: 82,783 images with five captions each."""

from configs import vitb32


def get_config():
    c = vitb32.get_config()
    c.data.source = "tfds:coco_captions"
    c.data.caption_column = "captions.text"
    c.data.data_dir = "data/tfds"
    return c
