"""Steps that the devices have been given and whose metrics are not read yet."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from safeclip_jax.training.checkpoint import Position
from safeclip_jax.training.steps import Metrics


class Step(NamedTuple):
    """A step that was begun.

    Attributes:
      position: after it.
      stage: its name.
      rate: learning rate.
      metrics: what it returned.
    """

    position: Position
    stage: str
    rate: np.float32
    metrics: Metrics


class StepsInFlight:
    """Begun steps, the oldest first.

    Args:
      done: takes each once it is done.
    """

    def __init__(self, done: Callable[[Step], None]):
        self._done = done
        self._steps: collections.deque[Step] = collections.deque()

    def add(self, step: Step) -> None:
        self._steps.append(step)

    def wait(self, left: int = 0) -> None:
        """Waits for the oldest steps until so many are left."""
        while len(self._steps) > left:
            step = self._steps.popleft()
            jax.block_until_ready(step.metrics)
            self._done(step)
