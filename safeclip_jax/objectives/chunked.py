r"""The softmax normalisers of a batch's similarities, without ever holding all of them.

For queries q and targets t, [B, D], and a scale s, the logits are s · q_i · t_j. InfoNCE needs
only their diagonal and log-sum-exps. Each device holds its rows of q and, gathered, all of
t; it makes a block of columns at a time, [B / devices, chunk], twice: once for the
log-sum-exps and once more for the gradients. Between devices move the targets, their
gradients and a number a pair: O(B · D).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from safeclip_jax.distributed.sharding import BATCH_AXES

Residuals = tuple[jax.Array, ...]

_LAST = 2**31 - 1


@dataclass(frozen=True)
class Chunks:
    """How similarities are cut.

    Attributes:
      size: columns at a time; it divides the batch and a device's part of a bank. 0: all.
      mesh: over which the batch lies.
      split_banks: whether the banks lie over it too, or are whole on every device.
    """

    size: int
    mesh: Mesh
    split_banks: bool = False

    def over_devices(self, function: Any, inputs: tuple[P, ...], outputs: Any) -> Any:
        return jax.shard_map(
            function, mesh=self.mesh, in_specs=inputs, out_specs=outputs, check_vma=False
        )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def log_sums(
    chunks: Chunks, queries: jax.Array, targets: jax.Array, scale: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Log-sum-exps of the logits' rows and columns, [B] each.

    Args:
      chunks: how the logits are cut.
      queries, targets: [B, D], over the devices.
      scale: s, a scalar.
    """
    return _forward(chunks, queries, targets, scale)[0]


def _forward(
    chunks: Chunks, queries: jax.Array, targets: jax.Array, scale: jax.Array
) -> tuple[tuple[jax.Array, jax.Array], Residuals]:
    def on_device(mine: jax.Array, theirs: jax.Array, scale: jax.Array) -> tuple[Any, ...]:
        blocks = _blocks(jax.lax.all_gather(theirs, BATCH_AXES, tiled=True), chunks.size)

        def add(row: jax.Array, block: jax.Array) -> tuple[jax.Array, jax.Array]:
            logits = scale * mine @ block.T
            row = jnp.logaddexp(row, jax.nn.logsumexp(logits, axis=1))
            return row, jax.nn.logsumexp(logits, axis=0)

        rows, columns = jax.lax.scan(add, jnp.full(len(mine), -jnp.inf), blocks)
        columns = columns.reshape(-1)
        most = jax.lax.pmax(columns, BATCH_AXES)
        sums = jax.lax.psum_scatter(jnp.exp(columns - most), BATCH_AXES, tiled=True)
        start = jax.lax.axis_index(BATCH_AXES) * len(mine)
        return rows, jnp.log(sums) + jax.lax.dynamic_slice_in_dim(most, start, len(mine))

    split = P(BATCH_AXES)
    run = chunks.over_devices(on_device, (split, split, P()), (split, split))
    rows, columns = run(queries, targets, scale)
    return (rows, columns), (queries, targets, scale, rows, columns)


def _backward(chunks: Chunks, saved: Residuals, gradients: Any) -> tuple[jax.Array, ...]:
    def on_device(
        mine: jax.Array,
        theirs: jax.Array,
        scale: jax.Array,
        rows: jax.Array,
        columns: jax.Array,
        row_gradients: jax.Array,
        column_gradients: jax.Array,
    ) -> tuple[jax.Array, ...]:
        gathered = [
            _blocks(jax.lax.all_gather(x, BATCH_AXES, tiled=True), chunks.size)
            for x in (theirs, columns, column_gradients)
        ]

        def add(carry: Any, block: Any) -> Any:
            mine_gradient, scale_gradient = carry
            targets, column, column_gradient = block
            products = mine @ targets.T
            logits = scale * products
            slopes = row_gradients[:, None] * jnp.exp(logits - rows[:, None])
            slopes += column_gradient * jnp.exp(logits - column)
            mine_gradient += scale * slopes @ targets
            scale_gradient += jnp.sum(slopes * products)
            return (mine_gradient, scale_gradient), scale * slopes.T @ mine

        start = jnp.zeros_like(mine), jnp.zeros((), jnp.float32)
        (mine_gradient, scale_gradient), theirs_gradient = jax.lax.scan(add, start, tuple(gathered))
        theirs_gradient = theirs_gradient.reshape(-1, mine.shape[1])
        return (
            mine_gradient,
            jax.lax.psum_scatter(theirs_gradient, BATCH_AXES, tiled=True),
            jax.lax.psum(scale_gradient, BATCH_AXES),
        )

    split = P(BATCH_AXES)
    inputs = (split, split, P(), split, split, split, split)
    return chunks.over_devices(on_device, inputs, (split, split, P()))(*saved, *gradients)


log_sums.defvjp(_forward, _backward)


def expected(chunks: Chunks, queries: jax.Array, targets: jax.Array, scale: jax.Array) -> jax.Array:
    """Mean of each row of logits under the row's own softmax, [B]; args as in `log_sums`."""

    def on_device(mine: jax.Array, theirs: jax.Array, scale: jax.Array) -> jax.Array:
        def add(so_far: Any, block: jax.Array) -> tuple[Any, None]:
            mean, log_sum = so_far
            logits = scale * mine @ block.T
            log_sum_now = jnp.logaddexp(log_sum, jax.nn.logsumexp(logits, axis=1))
            weights = jnp.exp(logits - log_sum_now[:, None])
            mean *= jnp.exp(log_sum - log_sum_now)
            return (mean + jnp.sum(weights * logits, axis=1), log_sum_now), None

        blocks = _blocks(jax.lax.all_gather(theirs, BATCH_AXES, tiled=True), chunks.size)
        start = jnp.zeros(len(mine)), jnp.full(len(mine), -jnp.inf)
        (mean, _), _ = jax.lax.scan(add, start, blocks)
        return mean

    split = P(BATCH_AXES)
    return chunks.over_devices(on_device, (split, split, P()), split)(queries, targets, scale)


def nearest(chunks: Chunks, rows: jax.Array, queries: jax.Array) -> jax.Array:
    """The row with the largest dot product for each query, [B, D]; the first one of equals.

    Args:
      chunks: how the similarities are cut.
      rows: [batches, B, D], on the devices as `chunks` says.
      queries: [B, D], over the devices.
    """
    size, split = chunks.size, P(BATCH_AXES)

    def of_whole_bank(rows: jax.Array, mine: jax.Array) -> jax.Array:
        rows = rows.reshape(-1, rows.shape[2])
        _, place = _best(rows, mine, size)
        return rows[place]

    def of_split_bank(rows: jax.Array, mine: jax.Array) -> jax.Array:
        share = rows.shape[1]
        rows = rows.reshape(-1, rows.shape[2])
        everyone = jax.lax.all_gather(mine, BATCH_AXES, tiled=True)
        value, place = _best(rows, everyone, size)
        batch, row = jnp.divmod(place, share)
        index = batch * len(everyone) + jax.lax.axis_index(BATCH_AXES) * share + row
        best = value == jax.lax.pmax(value, BATCH_AXES)
        first = jax.lax.pmin(jnp.where(best, index, _LAST), BATCH_AXES)
        mine_only = jnp.where((best & (index == first))[:, None], rows[place], 0)
        return jax.lax.psum_scatter(mine_only, BATCH_AXES, tiled=True)

    if chunks.split_banks:
        return chunks.over_devices(of_split_bank, (P(None, BATCH_AXES), split), split)(
            rows, queries
        )
    return chunks.over_devices(of_whole_bank, (P(), split), split)(rows, queries)


def _best(rows: jax.Array, queries: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Largest dot product of each query with `rows`, and the first place where it is."""

    def better(best: Any, block: Any) -> tuple[Any, None]:
        number, some = block
        similarity = queries @ some.T
        place = number * len(some) + jnp.argmax(similarity, axis=1).astype(jnp.int32)
        value = jnp.max(similarity, axis=1)
        larger = value > best[0]
        return (jnp.where(larger, value, best[0]), jnp.where(larger, place, best[1])), None

    blocks = _blocks(rows, size)
    start = jnp.full(len(queries), -jnp.inf), jnp.zeros(len(queries), jnp.int32)
    numbers = jnp.arange(len(blocks), dtype=jnp.int32)
    found, _ = jax.lax.scan(better, start, (numbers, blocks))
    return found


def _blocks(x: jax.Array, size: int) -> jax.Array:
    """[N, …] to [N / size, size, …]; all in one block if there are no more than `size`."""
    size = min(size, len(x)) or len(x)
    return x.reshape(-1, size, *x.shape[1:])
