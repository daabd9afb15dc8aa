"""Icons: 60,000 real pairs that `experiments.corpora.icons` writes, 75 classes held out.

    python -m safeclip_jax.main --config=experiments/configs/icons.py

What each class has of captions follows a long tail, from `file` to `cheese`.
"""

import safeclip_jax


def get_config():
    c = safeclip_jax.config("demo")
    c.epochs = 10
    c.batch_size = 128
    c.model.preset = "nano"
    c.model.image_size = 64
    c.data.source = "webdataset:data/icons/train"
    c.data.label_column = "label"
    c.data.pairs = 0
    c.data.seed = 0
    c.data.tokenizer = "train"
    c.data.vocab_size = 8000
    c.data.context = 24
    c.optimizer.warmup_pairs = 30_000
    c.unimodal.bank_size = 4096
    c.attack.target = "heart"
    c.evaluate.source = "webdataset:data/icons/test"
    c.evaluate.pairs = 0
    c.evaluate.every = 5
    return c
