"""The device mesh and how arrays lie on it."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from safeclip_jax.errors import UserError

BATCH_AXES = ("data", "fsdp")

# Which dimension of an array is split over `fsdp`, by the end of its path; the first rule
# that fits. Arrays without a rule, and those that do not divide, are whole on every device.
FSDP_RULES = (
    (r"/[qkv]/kernel", 0),  # [width, heads, features]: heads may be few
    (r"/(kernel|embedding|positions)", -1),
)
_SPLIT_BANKS = P(None, BATCH_AXES)
_UNDER_WAY, _GATHERED = 2, 64  # arrays


def make_mesh(fsdp: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """All devices of all hosts; a batch lies over both axes, parameters over `fsdp`.

    Args:
      fsdp: devices over which a parameter is split.
      devices: only these.

    Raises:
      UserError: if the devices do not divide by `fsdp`.
    """
    devices = jax.devices() if devices is None else devices
    if fsdp < 1 or len(devices) % fsdp:
        raise UserError(f"mesh.fsdp={fsdp} does not divide {len(devices)} device(s)")
    shape, kinds = (len(devices) // fsdp, fsdp), (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh(shape, BATCH_AXES, axis_types=kinds, devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, P())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, P(BATCH_AXES))


def of_state(state: Any, mesh: Mesh, split_banks: bool = False) -> Any:
    """The sharding of every array of a train state, or of its shapes.

    Args:
      state: parameters and optimiser go by `FSDP_RULES`; remembered scores lie over all devices.
      mesh: of devices.
      split_banks: whether the rows of banks lie over the devices as a batch does.
    """

    def place(path: Any, leaf: Any) -> NamedSharding:
        name = "/" + "/".join(_name(entry) for entry in path)
        if split_banks and name.endswith("_bank/rows"):
            return NamedSharding(mesh, _SPLIT_BANKS)
        if name == "/remembered":
            return batch_sharding(mesh) if len(leaf) % mesh.size == 0 else replicated(mesh)
        for pattern, dimension in FSDP_RULES:
            if re.search(pattern + "$", name):
                return NamedSharding(mesh, _split(leaf.shape, dimension, mesh))
        return replicated(mesh)

    return jax.tree.map_with_path(place, state)


def _name(entry: Any) -> str:
    return str(getattr(entry, "key", getattr(entry, "name", getattr(entry, "idx", entry))))


def _split(shape: tuple[int, ...], dimension: int, mesh: Mesh) -> P:
    if len(shape) < 2 or shape[dimension] % mesh.shape["fsdp"]:
        return P()
    axes: list[str | None] = [None] * len(shape)
    axes[dimension] = "fsdp"
    return P(*axes)


def check_batch(name: str, batch_size: int, mesh: Mesh) -> None:
    """Raises `UserError` if a global batch does not divide evenly over the devices."""
    if batch_size < 1 or batch_size % mesh.size:
        raise UserError(
            f"{name}={batch_size} does not divide over {mesh.size} devices: "
            f"try {nearest_batch(batch_size, mesh)}"
        )


def nearest_batch(batch_size: int, mesh: Mesh) -> int:
    """The nearest size of a global batch that divides evenly over the devices."""
    return max(1, round(batch_size / mesh.size)) * mesh.size


def to_devices(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Forms global arrays from the slices that each process holds."""
    sharding = batch_sharding(mesh)
    return {k: jax.make_array_from_process_local_data(sharding, v) for k, v in batch.items()}


def in_parts(rows: jax.Array, parts: int) -> jax.Array:
    """[B, …] to [parts, B / parts, …], within jit; each device keeps its own rows."""
    return jnp.swapaxes(rows.reshape(-1, parts, *rows.shape[1:]), 0, 1)


def of_parts(rows: jax.Array) -> jax.Array:
    """The inverse of `in_parts`."""
    return jnp.swapaxes(rows, 0, 1).reshape(-1, *rows.shape[2:])


def row_batches(
    rows: dict[str, np.ndarray], batch: int, mesh: Mesh
) -> Iterator[dict[str, jax.Array]]:
    """Equal batches over the devices, of rows that every host holds whole.

    Args:
      rows: arrays with the same first dimension n.
      batch: rows at a time, all devices together; the last one is filled with the last row.
      mesh: of devices.
    """
    count = len(next(iter(rows.values())))
    share = batch // jax.process_count()
    first = share * jax.process_index()
    for start in range(0, count, batch):
        numbers = np.minimum(np.arange(start + first, start + first + share), count - 1)
        yield to_devices({name: values[numbers] for name, values in rows.items()}, mesh)


def whole_chunks(
    rows: dict[str, np.ndarray], size: int, mesh: Mesh
) -> Iterator[tuple[np.int32, dict[str, jax.Array]]]:
    """Equal chunks of rows, whole on every device, and the number of the first row of each.

    Args:
      rows: arrays with the same first dimension n.
      size: rows at a time, at most n; the last chunk is filled with zeros.
      mesh: of devices.
    """
    count = len(next(iter(rows.values())))
    size = min(size, count)
    for start in range(0, count, size):
        missing = max(start + size - count, 0)
        chunk = {
            name: np.pad(part[start : start + size], [(0, missing), *[(0, 0)] * (part.ndim - 1)])
            for name, part in rows.items()
        }
        yield np.int32(start), jax.device_put(chunk, replicated(mesh))


def to_host(array: jax.Array) -> np.ndarray:
    """The whole array on every host."""
    if array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def gathered(arrays: Iterable[jax.Array], mesh: Mesh) -> Iterator[np.ndarray]:
    """The rows of arrays on every host, in their order, those of many arrays at a time.

    An array is asked for once the devices have made all but the last two: what is under way, and
    what has come of it and waits for the hosts, does not grow with the number of arrays.

    Args:
      arrays: [B, …] each, split as a batch.
      mesh: of the devices.
    """
    group: list[jax.Array] = []
    for array in arrays:
        group.append(array)
        if len(group) > _UNDER_WAY:
            group[-1 - _UNDER_WAY].block_until_ready()
        if len(group) == _GATHERED:
            yield _together(group, mesh)
            group = []
    if group:
        yield _together(group, mesh)


def _together(group: list[jax.Array], mesh: Mesh) -> np.ndarray:
    if group[0].is_fully_addressable:
        return np.concatenate([np.asarray(array) for array in group])
    return np.concatenate(to_host(_stacked(group, mesh)))


@functools.partial(jax.jit, static_argnums=1)
def _stacked(group: list[jax.Array], mesh: Mesh) -> jax.Array:
    return jax.lax.with_sharding_constraint(jnp.stack(group), replicated(mesh))


def from_lead(value: int) -> int:
    """The first host's value, on every host."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def largest(values: tuple[int, ...], mesh: Mesh) -> Callable[[], tuple[int, ...]]:
    """The largest of each value over all hosts, which must all call this in the same order.

    It is found on the devices, in turn with what they were given before and after; the function
    that is returned waits for it.
    """
    if jax.process_count() == 1:
        return lambda: values
    mine = np.tile(np.array(values, np.int32), (len(mesh.local_devices), 1))
    everyone = jax.make_array_from_process_local_data(batch_sharding(mesh), mine)
    found = jax.jit(lambda x: x.max(axis=0), out_shardings=replicated(mesh))(everyone)
    return lambda: tuple(np.asarray(found).tolist())


def exchange(text: str) -> list[str]:
    """Sends a text to all hosts and returns everyone's, in the order of the hosts."""
    from jax.experimental import multihost_utils

    mine = np.frombuffer(text.encode(), np.uint8)
    lengths = np.asarray(multihost_utils.process_allgather(np.array(len(mine), np.int32)))
    padded = np.zeros(int(lengths.max()), np.uint8)
    padded[: len(mine)] = mine
    everyone = np.asarray(multihost_utils.process_allgather(padded))
    return [row[:n].tobytes().decode() for row, n in zip(everyone, lengths, strict=True)]


def check_same_everywhere(what: str, digest: str) -> None:
    """Raises `UserError` if the hosts hold different values; `digest` is hexadecimal."""
    if jax.process_count() == 1:
        return
    from jax.experimental import multihost_utils

    mine = np.frombuffer(bytes.fromhex(digest), np.uint8).astype(np.int32)
    everyone = np.asarray(multihost_utils.process_allgather(mine))
    if (everyone != mine).any():
        raise UserError(f"{what} differ between hosts: do all read the same data?")
