"""A run of every stage on a small table with bad records: `--config=FILE.py:CSV` with this file."""

import safeclip_jax


def get_config(table):
    c = safeclip_jax.config("demo")
    c.epochs, c.max_steps, c.log_every = 5, 0, 1
    c.model.preset = "nano"
    c.batch_size = c.score.batch_size = 16
    c.unimodal.bank_size = 32
    c.safeclip.warmup_epochs = 1
    c.data.source, c.data.pairs = f"csv:{table}", 0
    c.data.tokenizer, c.data.vocab_size, c.data.context = "train", 300, 40
    c.data.max_skipped_share = 0.9
    c.attack.rate = 0.0
    c.evaluate.pairs, c.evaluate.tasks = 50, ("zero_shot", "retrieval", "knn")
    return c
