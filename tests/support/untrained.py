"""A run's folder without the time that training takes."""

import numpy as np

from safeclip_jax.defenses import pool_files, pools
from safeclip_jax.runs import run_folder
from safeclip_jax.training import trainer as trainers
from safeclip_jax.training.experiment import build


def untrained(config, folder):
    """A run as it is after its last step, except that there were none."""
    folder.mkdir(parents=True, exist_ok=True)
    experiment = build(config, folder)
    run_folder.claim(folder, experiment.config)
    experiment.tokenizer.save(folder / "tokenizer.json")
    trainer = trainers.Trainer(experiment, folder)
    trainer._save()
    trainer.close()
    rng = np.random.default_rng(0)
    for epoch in (2, 3):
        scores = rng.normal(0, 1, len(experiment.source)).astype(np.float32)
        pool_files.save(pools.split(scores, seed=0, share=0.5), pool_files.path(folder, epoch))
