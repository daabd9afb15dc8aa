"""Scores of all pairs, and how strange their images are, with the current weights; forward only."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import numpy as np

import safeclip_jax
from safeclip_jax.distributed import sharding
from safeclip_jax.distributed.watchdog import Heartbeat, no_heartbeat
from safeclip_jax.neighbors import density
from safeclip_jax.training import feed, score_memory
from safeclip_jax.training.experiment import Experiment
from safeclip_jax.training.feed import Placed
from safeclip_jax.training.state import TrainState

_STAGE = 99  # of views that are scored: no stage of training has it
_REFERENCE, _NEIGHBORS = 1024, 4  # a pair is far from others if not one in 256 is near


def scores(
    experiment: Experiment, state: TrainState, epoch: int, reuse: bool, heartbeat: Heartbeat
) -> np.ndarray:
    """Scores every pair, float32 [N]; NaN for unusable pairs.

    Args:
      experiment: its settings say which score.
      state: with the weights.
      epoch: from which the order derives.
      reuse: whether pairs with a remembered score, from when they last trained, keep it.
      heartbeat: hears of each batch.
    """
    if experiment.config.plan.scored_by:
        return _by_another_model(experiment, epoch, heartbeat)
    score = experiment.config.pair_score
    order = np.random.default_rng([experiment.config.seed, epoch]).permutation(experiment.pairs)
    if reuse and state.remembered is not None:
        found = score_memory.read(state.remembered, len(order), experiment.mesh)
        order = order[np.isnan(found[order])]
    else:
        found = np.empty(len(order), np.float32)

    view = (epoch, _STAGE) if experiment.config.plan.scores_views else None

    def scored() -> Iterator[jax.Array]:
        for batch in _placed(experiment, order, view):
            heartbeat(f"epoch {epoch + 1}, scoring")
            (length,) = batch.largest()
            cut = batch.arrays | {"tokens": batch.arrays["tokens"][:, :length]}
            if view is not None:
                cut["image"] = experiment.steps.augmented(
                    {name: cut[name] for name in ("image", "index", "aspect") if name in cut},
                    np.array(view, np.int32),
                )
            yield experiment.steps.score(score, state.variables, cut)

    start = 0
    for values in sharding.gathered(scored(), experiment.mesh):
        pairs = order[start : start + len(values)]
        found[pairs] = values[: len(pairs)]
        start += len(values)
    experiment.skipped.share()
    return found


def _by_another_model(x: Experiment, epoch: int, heartbeat: Heartbeat) -> np.ndarray:
    """Cosines of all pairs by a trained model, float32 [N]; NaN for unusable pairs."""
    model, size = safeclip_jax.load(x.config.plan.scored_by), x.config.score_batch
    found = np.full(len(x.pairs), np.nan, np.float32)
    for start in range(0, len(x.pairs), size):
        heartbeat(f"epoch {epoch + 1}, scoring")
        part = x.pairs[start : start + size]
        images, bad = x.loader.images(part)
        x.skipped.note(bad)
        texts = model.embed_texts([x.source.captions[int(i)] for i in part], size)
        cosines = np.sum(model.embed_images([*images], size) * texts, axis=1)
        found[part] = np.where(np.isin(part, list(bad)), np.nan, cosines)
    x.skipped.share()
    return found


def distances(
    experiment: Experiment, state: TrainState, epoch: int, heartbeat: Heartbeat = no_heartbeat
) -> np.ndarray:
    """How far every pair's image is from others, float32 [N]; NaN for unusable pairs.

    The distance of its embedding from the 4th nearest of 1024 pairs drawn at random, see
    `density.k_distance`.

    Args:
      experiment: with the pairs.
      state: with the weights.
      epoch: from which the draw derives.
      heartbeat: hears of each batch.
    """
    x = experiment
    drawn = np.random.default_rng([x.config.seed, epoch, 0xFA2]).permutation(x.pairs)
    reference = np.sort(drawn[:_REFERENCE])
    points = np.concatenate([vectors for _, vectors in images(x, state, reference)])
    usable = ~np.isnan(points[:, 0])
    if usable.sum() <= _NEIGHBORS:
        return np.full(len(x.pairs), np.nan, np.float32)
    among = density.References(points[usable], reference[usable], _NEIGHBORS, x.mesh)
    found = np.empty(len(x.pairs), np.float32)
    for numbers, vectors in images(x, state, x.pairs):
        heartbeat(f"epoch {epoch + 1}, distances")
        found[numbers] = among.nearest(vectors, numbers)[0][:, -1]
    return found


def images(
    x: Experiment, state: TrainState, pairs: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pair indices [n] and image embeddings [n, D], some at a time; NaN for unusable pairs."""
    size = x.config.score_batch
    for start, batch in enumerate(_placed(x, pairs)):
        vectors = x.steps.embedder.on_images(state.variables, batch.arrays["image"])
        embedded, valid = sharding.to_host(vectors), sharding.to_host(batch.arrays["valid"])
        numbers = pairs[start * size : (start + 1) * size]
        whole = np.where(valid[:, None], embedded, np.nan)
        yield numbers, whole[: len(numbers)]


def _placed(
    x: Experiment, pairs: np.ndarray, view: tuple[int, int] | None = None
) -> Iterator[Placed]:
    """Batches of pairs on the devices, with the tokens that their captions need.

    Of a view, which is an (epoch, stage), the captions are augmented, the images yet to be.
    """
    text = x.steps.model.config.text
    caption = None if view is None else (*view, 0)
    batches = x.loader.scoring_batches(pairs, x.config.score_batch, caption)
    return feed.ahead(batches, x.mesh, lambda batch: (text.length(batch["tokens"]),))
