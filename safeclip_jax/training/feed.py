"""Batches on their way to the devices, one ahead of the step that takes them."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from safeclip_jax.distributed import sharding

AHEAD = 1  # batches whose copy runs while the one before them is trained


class Placed(NamedTuple):
    """A batch on the devices.

    Attributes:
      arrays: global arrays, split over the devices.
      largest: waits for the largest of the numbers that the hosts noted of their parts.
    """

    arrays: dict[str, jax.Array]
    largest: Callable[[], tuple[int, ...]]


def ahead(
    batches: Iterator[dict[str, np.ndarray]],
    mesh: Mesh,
    note: Callable[[dict[str, np.ndarray]], tuple[int, ...]],
) -> Iterator[Placed]:
    """Copies each batch to the devices before the one before it is taken.

    Where reading fails, the batches that were read before come first.

    Args:
      batches: this host's part of each.
      mesh: of devices.
      note: numbers on which all hosts must agree, of this host's part.
    """
    waiting: collections.deque[Placed] = collections.deque()
    try:
        for batch in batches:
            largest = sharding.largest(note(batch), mesh)
            waiting.append(Placed(sharding.to_devices(batch, mesh), largest))
            if len(waiting) > AHEAD:
                yield waiting.popleft()
    except Exception:
        yield from waiting
        raise
    yield from waiting
