"""The model that the auditor trains itself, by SafeCLIP, where none is given: small and quick.

python -m safeclip_jax.audit --data=csv:pairs.csv --config=audit
"""

import safeclip_jax


def get_config():
    c = safeclip_jax.config("demo")
    c.model.preset = "nano"
    c.data.tokenizer = "train"
    c.data.vocab_size = 2000
    c.data.context = 24
    c.data.pairs = 0
    c.score.kind = "cosine"
    c.safeclip.warmup_epochs = 1
    c.unimodal.bank_size = 512
    c.attack.rate = 0.0
    c.evaluate.source = ""
    c.evaluate.every = 0
    c.keep_checkpoints = 1
    return c
