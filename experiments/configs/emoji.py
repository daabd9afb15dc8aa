"""A small real data set from WebDataset shards, labelled by a field of their .json members.

Emoji pairs of 64 pixels: 90 % train, 10 % are held out. Class names are not words of the
captions, so a class's vector is the mean of captions of its training pairs.
"""

import safeclip_jax


def get_config():
    c = safeclip_jax.config("demo")
    c.epochs = 40
    c.data.source = "webdataset:data/emoji"
    c.data.label_column = "subcategory"
    c.data.tokenizer = "train"
    c.data.vocab_size = 2000
    c.data.context = 24
    c.data.pairs = 0
    c.data.seed = 0
    c.data.part = (0.0, 0.9)
    c.optimizer.warmup_pairs = 7_000
    c.safeclip.warmup_epochs = 5
    c.attack.target = "heart"
    c.evaluate.source = "webdataset:data/emoji"
    c.evaluate.pairs = 0
    c.evaluate.part = (0.9, 1.0)
    c.evaluate.prompts = "captions"
    c.evaluate.every = 10
    return c
