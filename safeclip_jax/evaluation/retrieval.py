"""Image–text retrieval in both directions: recall@k."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from safeclip_jax.data.held_out import HeldOut
from safeclip_jax.distributed import sharding
from safeclip_jax.evaluation.share import share
from safeclip_jax.evaluation.task import EmbedImages, EmbedTexts, Metrics

CUTS = (1, 5, 10)
_QUERIES_A_DEVICE = 1024
_CANDIDATES = 8192


def evaluate(
    embed_images: EmbedImages, embed_texts: EmbedTexts, source: HeldOut, mesh: Mesh
) -> Metrics:
    """Recall of the right partner among all, see `task.Task`.

    An image may have several captions: any of them counts.

    Returns:
      For k = 1, 5, 10: `text_recall_at_k`, the share of images with one of their captions
      among the k most similar ones, and `image_recall_at_k`, the share of captions whose image
      is among the k most similar ones.
    """
    distinct, places = source.distinct
    images = embed_images(distinct)
    kept = np.flatnonzero(np.isin(places, images.usable))
    if not len(kept):
        return {}
    texts = embed_texts([source.images.captions[int(i)] for i in kept])
    of_images, of_texts = images.usable, places[kept]
    to_texts = ranks(images.vectors, texts, of_images, of_texts, mesh)
    to_images = ranks(texts, images.vectors, of_texts, of_images, mesh)
    return {
        **{f"text_recall_at_{k}": share(to_texts < k) for k in CUTS},
        **{f"image_recall_at_{k}": share(to_images < k) for k in CUTS},
    }


def ranks(
    queries: np.ndarray,
    candidates: np.ndarray,
    query_groups: np.ndarray,
    candidate_groups: np.ndarray,
    mesh: Mesh,
) -> np.ndarray:
    """For each query the rank, from 0, of the best candidate of its group.

    Of equally similar candidates the first comes first. At most some thousand candidates'
    similarities are in memory at a time; two passes over them are made, one to find each
    query's own best (where partners are), one to count those before it.

    Args:
      queries: unit vectors [n, D], split over the devices.
      candidates: unit vectors [m, D].
      query_groups, candidate_groups: int [n] and [m]; partners share a number, and every query
        has one.
      mesh: of devices.

    Returns:
      int32 [n]; m for a vector that is not a number.
    """
    rows = {"vectors": queries.astype(np.float32), "groups": query_groups.astype(np.int32)}
    block = sharding.nearest_batch(min(_QUERIES_A_DEVICE * mesh.size, len(queries)), mesh)
    blocks = list(sharding.row_batches(rows, block, mesh))
    bests = [
        (jnp.full_like(b["groups"], -jnp.inf, jnp.float32), jnp.zeros_like(b["groups"]))
        for b in blocks
    ]
    theirs = [query_groups[start : start + block] for start in range(0, len(queries), block)]
    others = {
        "vectors": candidates.astype(np.float32),
        "groups": candidate_groups.astype(np.int32),
    }
    total = len(candidates)
    for start, chunk in sharding.whole_chunks(others, _CANDIDATES, mesh):
        vectors, groups = chunk["vectors"], chunk["groups"]
        here = candidate_groups[start : start + _CANDIDATES]
        for i, b in enumerate(blocks):
            if np.isin(theirs[i], here).any():
                bests[i] = _best(*b.values(), vectors, groups, start, total, *bests[i])
    counts = [jnp.zeros_like(b["groups"]) for b in blocks]
    for start, chunk in sharding.whole_chunks(others, _CANDIDATES, mesh):
        counts = [
            count + _ahead(*b.values(), chunk["vectors"], chunk["groups"], start, total, *best)
            for b, best, count in zip(blocks, bests, counts, strict=True)
        ]
    return np.concatenate([sharding.to_host(count) for count in counts])[: len(queries)]


def _similarity(queries: jax.Array, candidates: jax.Array) -> jax.Array:
    return jnp.matmul(queries, candidates.T, precision=jax.lax.Precision.HIGHEST)


@jax.jit
def _best(
    queries: jax.Array,
    groups: jax.Array,
    candidates: jax.Array,
    candidate_groups: jax.Array,
    start: jax.Array,
    total: jax.Array,
    value: jax.Array,
    place: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """The best similarity to a candidate of the own group so far, and that one's place."""
    places = start + jnp.arange(len(candidates))
    own = (groups[:, None] == candidate_groups) & (places < total)
    similarity = jnp.where(own, _similarity(queries, candidates), -jnp.inf)
    here, found = places[jnp.argmax(similarity, axis=1)], jnp.max(similarity, axis=1)
    better = (found > value) | jnp.isnan(found)
    return jnp.where(better, found, value), jnp.where(better, here, place)


@jax.jit
def _ahead(
    queries: jax.Array,
    groups: jax.Array,
    candidates: jax.Array,
    candidate_groups: jax.Array,
    start: jax.Array,
    total: jax.Array,
    value: jax.Array,
    place: jax.Array,
) -> jax.Array:
    """How many of the candidates come before the best of the own group, none of which does."""
    similarity, value = _similarity(queries, candidates), value[:, None]
    places = start + jnp.arange(len(candidates))
    first = (similarity == value) & (places < place[:, None])
    ahead = ((similarity > value) | first) & (groups[:, None] != candidate_groups)
    ahead = (ahead | jnp.isnan(value)) & (places < total)
    return ahead.sum(axis=1, dtype=jnp.int32)
