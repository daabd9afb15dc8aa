"""Scores of all pairs with the current weights, forward only."""

from __future__ import annotations

import numpy as np

from safeclip_jax import sharding
from safeclip_jax.defenses import score_kind
from safeclip_jax.experiment import Experiment
from safeclip_jax.roll import Beat
from safeclip_jax.steps import TrainState


def score(
    experiment: Experiment, state: TrainState, epoch: int, reuse: bool, beat: Beat
) -> np.ndarray:
    """Scores every pair, float32 [N]; NaN for unusable pairs.

    Args:
      experiment: its config says which score, of which view of the images.
      state: with the weights.
      epoch: from which the order and the views derive.
      reuse: whether pairs with a remembered score, from when they last trained, keep it. How a
        relative score depends on the size of its batch is a logarithm.
      beat: hears of each batch.
    """
    config, kind = experiment.config.score, score_kind(experiment.config)
    view = epoch if config.view == "augmented" else None
    order = np.random.default_rng([experiment.config.seed, epoch]).permutation(experiment.pairs)
    scores = np.zeros(len(order), np.float32)
    if reuse:
        scores = np.array(state.remembered)
        if kind == "relative":
            scores += np.log(experiment.config.batch_size / config.batch_size)
        order = order[np.isnan(scores[order])]
    parts = []
    for batch in experiment.loader.scoring_batches(order, config.batch_size):
        beat(f"epoch {epoch + 1}, scoring")
        placed = sharding.to_devices(batch, experiment.mesh)
        parts.append(experiment.steps.score(kind, state.variables, placed, view))
    if parts:
        values = np.concatenate([sharding.to_host(part) for part in parts])
        scores[order] = values[: len(order)]
    experiment.skipped.share()
    return scores
