"""One of two processes of a run: `python -m tests.one_of_two PORT NUMBER WORKDIR CSV`."""

import os
import sys

os.environ["JAX_PLATFORMS"] = "cpu"

import jax

from configs import demo
from safeclip_jax import cpu


def settings(table):
    """A run of every stage on a small table with bad records."""
    c = demo.get_config()
    c.epochs, c.max_steps, c.log_every = 4, 0, 1
    c.batch_size = c.score.batch_size = 16
    c.unimodal.bank_size = 32
    c.safeclip.warmup_epochs = 1
    c.data.source, c.data.pairs = f"csv:{table}", 0
    c.data.tokenizer, c.data.vocab_size = "train", 300
    c.data.max_skipped_share = 0.9
    c.attack.rate = 0.0
    c.evaluate.source = ""
    return c


def main(port, number, workdir, table):
    from pathlib import Path

    jax.config.update("jax_num_cpu_devices", 2)
    cpu.allow_many_devices(2)
    jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=int(number))
    from safeclip_jax import train

    train.run(settings(table), Path(workdir))


if __name__ == "__main__":
    main(*sys.argv[1:])
