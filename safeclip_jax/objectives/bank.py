"""Banks of past embeddings."""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp

from safeclip_jax.objectives import chunked
from safeclip_jax.objectives.chunked import Chunks


@flax.struct.dataclass
class Bank:
    """A first-in-first-out bank of the embeddings of past batches.

    Attributes:
      rows: [batches, B, D], unit norm; whole on every device, or over the devices as a batch is.
      next: batch that the next one overwrites, int32 scalar.
    """

    rows: jax.Array
    next: jax.Array


def empty_bank(key: jax.Array, batches: int, batch_size: int, width: int) -> Bank:
    """A bank of random unit vectors, as in NNCLR, until real embeddings replace them."""
    rows = jax.random.normal(key, (batches, batch_size, width))
    return Bank(rows / jnp.linalg.norm(rows, axis=2, keepdims=True), jnp.zeros((), jnp.int32))


def nearest(bank: Bank, queries: jax.Array, chunks: Chunks | None = None) -> jax.Array:
    """The bank's row with the largest dot product for each query, [B, D], without gradient."""
    rows, queries = jax.lax.stop_gradient((bank.rows, queries))
    if chunks is not None:
        return chunked.nearest(chunks, rows, queries)
    rows = rows.reshape(-1, rows.shape[2])
    return rows[jnp.argmax(queries @ rows.T, axis=1)]


def enqueue(bank: Bank, embeddings: jax.Array) -> Bank:
    """Overwrites the bank's oldest batch; on every device its own part of it."""
    rows = jax.lax.dynamic_update_index_in_dim(
        bank.rows, jax.lax.stop_gradient(embeddings), bank.next, axis=0
    )
    return Bank(rows, (bank.next + 1) % len(bank.rows))
