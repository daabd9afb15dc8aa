"""The device mesh and how arrays lie on it."""

from __future__ import annotations

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from safeclip_jax.errors import UserError


def make_mesh() -> Mesh:
    """All devices of all hosts along one axis, `data`."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec("data"))


def check_batch(name: str, batch_size: int, mesh: Mesh) -> None:
    """Raises `UserError` if a global batch does not divide evenly over the devices."""
    if batch_size < 1 or batch_size % mesh.size:
        nearest = max(1, round(batch_size / mesh.size)) * mesh.size
        raise UserError(
            f"{name}={batch_size} does not divide over {mesh.size} devices: try {nearest}"
        )


def to_devices(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Forms global arrays from the slices that each process holds."""
    sharding = batch_sharding(mesh)
    return {k: jax.make_array_from_process_local_data(sharding, v) for k, v in batch.items()}


def to_host(array: jax.Array) -> np.ndarray:
    """The whole array on every host."""
    if array.is_fully_addressable:
        return np.asarray(array)
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


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
