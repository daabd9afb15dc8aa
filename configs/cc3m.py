"""The paper's data with ViT-B/32: CC3M from the CSV or TSV file of its image paths."""

from configs import vitb32


def get_config():
    c = vitb32.get_config()
    c.data.source = "csv:data/cc3m/train.tsv"
    c.data.image_column = "filepath"
    c.data.caption_column = "title"
    return c
