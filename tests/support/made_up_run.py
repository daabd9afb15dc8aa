"""Folders of finished runs that were never trained: made-up figures, curves and pools."""

import json

import numpy as np

import safeclip_jax
from safeclip_jax.attacks.manifest import Manifest, PoisonedPair
from safeclip_jax.data import digests
from safeclip_jax.defenses import pool_files, pools
from safeclip_jax.runs import run_data, same_data, settings
from safeclip_jax.training.evaluator import NO_POOLS, NOTHING

PAIRS = 60


def made_up(folder, poisons=(), pool_epochs=(2, 3), seed=0, accuracy=0.9, **changes):
    """A run of `PAIRS` pairs.

    Args:
      folder: to make.
      poisons: (index, caption) of each.
      pool_epochs: epochs, from 0, with pools.
      seed: of the made-up scores.
      accuracy: in [0, 1], at the end.
      changes: of keys of the config, `__` for a dot.
    """
    config = safeclip_jax.config("demo")
    config.data.pairs, config.epochs, config.evaluate.pairs = PAIRS, 4, 20
    config.model.image_size = 32
    for name, value in changes.items():
        *sections, last = name.split("__")
        section = config
        for part in sections:
            section = section[part]
        section[last] = value
    run = settings.of(config)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(settings.as_dict(run)))
    pairs = run_data.training_pairs(run, None)
    same_data.note(folder, {same_data.TRAINING: digests.of(pairs)})
    manifest = tuple(
        PoisonedPair(i, pairs.keys[i], "badnets", "", pairs.captions[i], caption)
        for i, caption in poisons
    )
    Manifest("backdoor", "heart", manifest).save(folder / "poison_manifest.json")
    for epoch in pool_epochs:
        rng = np.random.default_rng([seed, epoch])
        scores = rng.normal(0, 1, len(pairs)).astype(np.float32)
        pool_files.save(pools.split(scores, seed=0, share=0.5), pool_files.path(folder, epoch))
    found = figures(len(pairs), len(poisons), accuracy)
    (folder / "results.json").write_text(json.dumps(found))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines(found)))
    return folder


def figures(pairs, poisons, accuracy):
    """What `results.json` holds."""
    return {
        "defense": "safeclip", "seed": 0, "pairs": pairs, "poisons": poisons, "target": "heart",
        **NOTHING, **NO_POOLS, "zero_shot_accuracy": accuracy,
        "zero_shot_accuracy_interval": [accuracy - 0.05, accuracy + 0.04],
        "attack_success_rate": 0.25, "attack_success_rate_interval": [0.2, 0.3],
        "target_base_rate": 0.01, "target_base_rate_interval": [0.0, 0.02],
        "safe_pool_size": 30, "poisons_in_safe_pool": 1, "score_auroc": 0.875,
        "score_recall_at_1_percent": 0.5, "skipped_records": 0, "steps": 1234, "skipped_steps": 0,
        "pairs_per_second": 1000.0, "seconds": 2000.0, "share_beyond_train_steps": 0.25,
        **{f"seconds_{name}": 100.0 for name in ("train", "input", "scoring", "checkpoint",
                                                 "evaluation", "compile")},
    }  # fmt: skip


def lines(found):
    """What `metrics.jsonl` holds."""
    for epoch in range(4):
        for step in (2 * epoch + 1, 2 * epoch + 2):
            yield {"step": step, "kind": "train", "epoch": epoch, "stage": "safe",
                   "loss": 3.0 - epoch / 2}  # fmt: skip
        yield {"step": 2 * epoch + 2, "kind": "pools", "epoch": epoch, "safe_pool_size": 30,
               "poisons_in_safe_pool": 1}  # fmt: skip
        yield {"step": 2 * epoch + 2, "kind": "evaluation", "epoch": epoch, **found}
