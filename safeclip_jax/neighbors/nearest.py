"""The most similar among many unit vectors, exactly, on all devices, some thousand at a time."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from safeclip_jax.distributed import sharding

_QUERIES_A_DEVICE = 256
_CANDIDATES = 8192


def nearest(
    queries: np.ndarray, candidates: np.ndarray, k: int, mesh: Mesh
) -> tuple[np.ndarray, np.ndarray]:
    """The k most similar candidates of each query, the most similar first.

    Exact; some thousand candidates are compared at a time.

    Args:
      queries: unit vectors [n, D], split over the devices.
      candidates: unit vectors [m, D].
      k: how many; all if there are fewer.
      mesh: of devices.

    Returns:
      Similarities float32 [n, k] and indices of candidates int32 [n, k].
    """
    k = min(k, len(candidates))
    block = sharding.nearest_batch(min(_QUERIES_A_DEVICE * mesh.size, len(queries)), mesh)
    rows = {"vectors": queries.astype(np.float32)}
    blocks = [b["vectors"] for b in sharding.row_batches(rows, block, mesh)]
    found = [_nothing(b, k) for b in blocks]
    others = {"vectors": candidates.astype(np.float32)}
    for start, chunk in sharding.whole_chunks(others, _CANDIDATES, mesh):
        found = [
            _merge(b, chunk["vectors"], start, len(candidates), *old, k=k)
            for b, old in zip(blocks, found, strict=True)
        ]
    values, places = zip(*found, strict=True)
    return tuple(  # type: ignore[return-value]
        np.concatenate([sharding.to_host(p) for p in parts])[: len(queries)]
        for parts in (values, places)
    )


@partial(jax.jit, static_argnames="k")
def _nothing(queries: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    # Of the rows, so that it lies over the devices as they do.
    rows = jnp.zeros_like(queries, shape=(len(queries), k))
    return rows - jnp.inf, rows.astype(jnp.int32)


@partial(jax.jit, static_argnames="k")
def _merge(
    queries: jax.Array,
    candidates: jax.Array,
    start: jax.Array,
    total: jax.Array,
    values: jax.Array,
    places: jax.Array,
    k: int,
) -> tuple[jax.Array, jax.Array]:
    """The k best of those found so far and of some more candidates."""
    similarity = jnp.matmul(queries, candidates.T, precision=jax.lax.Precision.HIGHEST)
    numbers = start + jnp.arange(len(candidates))
    similarity = jnp.where(numbers < total, similarity, -jnp.inf)
    all_values = jnp.concatenate([values, similarity], axis=1)
    numbers = jnp.broadcast_to(numbers, similarity.shape)
    best, where = jax.lax.top_k(all_values, k)
    return best, jnp.take_along_axis(jnp.concatenate([places, numbers], axis=1), where, axis=1)
