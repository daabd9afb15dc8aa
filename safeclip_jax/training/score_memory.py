"""Scores that pairs had as they trained, split over the devices: nowhere do all of them lie."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from safeclip_jax.distributed import sharding
from safeclip_jax.distributed.sharding import BATCH_AXES

MULTIPLE = 4096  # places are a multiple of it, whatever the devices: most numbers of them divide it
_AT_ONCE = 2**24


def empty(pairs: int) -> jax.Array:
    """A place for each pair, and some more: float32 [M], all NaN."""
    return jnp.full(-(-pairs // MULTIPLE) * MULTIPLE, jnp.nan)


def note(memory: jax.Array, index: jax.Array, scores: jax.Array, mesh: Mesh) -> jax.Array:
    """The memory with these scores; within jit. Each device writes what lies on it.

    Args:
      memory: float32 [M].
      index: of the pairs, int32 [B].
      scores: of them, float32 [B].
      mesh: of the devices.
    """
    if len(memory) % mesh.size:
        return memory.at[index].set(scores)

    def of_device(mine: jax.Array, index: jax.Array, scores: jax.Array) -> jax.Array:
        place = index - jax.lax.axis_index(BATCH_AXES) * len(mine)
        beyond = (place < 0) | (place >= len(mine))
        return mine.at[jnp.where(beyond, len(mine), place)].set(scores, mode="drop")

    split = P(BATCH_AXES)
    spread = jax.shard_map(of_device, mesh=mesh, in_specs=(split, P(), P()), out_specs=split)
    return spread(memory, index, scores)


def read(memory: jax.Array, pairs: int, mesh: Mesh) -> np.ndarray:
    """The scores on every host, float32 [pairs]; NaN where there is none.

    They come some from every device at a time.
    """
    devices = 1 if len(memory) % mesh.size else mesh.size
    found = np.empty((devices, len(memory) // devices), np.float32)
    width = min(_AT_ONCE // devices, found.shape[1])
    for start in range(0, found.shape[1], width):
        start = min(start, found.shape[1] - width)
        rows = _columns(memory, np.int32(start), found.shape, width, mesh)
        found[:, start : start + width] = sharding.to_host(rows)
    return found.reshape(-1)[:pairs]


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _columns(
    memory: jax.Array, start: np.int32, shape: tuple[int, int], width: int, mesh: Mesh
) -> jax.Array:
    rows = jax.lax.dynamic_slice_in_dim(memory.reshape(shape), start, width, axis=1)
    return jax.lax.with_sharding_constraint(rows, sharding.replicated(mesh))
