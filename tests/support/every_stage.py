"""A run of every stage on a small table with bad records: `--config=FILE.py:CSV` with this file."""

from configs import demo


def get_config(table):
    c = demo.get_config()
    c.epochs, c.max_steps, c.log_every = 5, 0, 1
    c.model.preset = "nano"
    c.batch_size = c.score.batch_size = 16
    c.unimodal.bank_size = 32
    c.safeclip.warmup_epochs, c.safeclip.fence = 1, 0.5
    c.safeclip.scout_epochs, c.safeclip.scout_learning_rate = 1, 1e-3
    c.data.source, c.data.pairs = f"csv:{table}", 0
    c.data.tokenizer, c.data.vocab_size, c.data.context = "train", 300, 40
    c.data.max_skipped_share = 0.9
    c.attack.rate = 0.0
    c.evaluate.pairs, c.evaluate.tasks = 50, ("zero_shot", "retrieval", "knn")
    return c
