"""What a defence tells the train loop: the stages of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from safeclip_jax.defenses.pools import NO_PAIRS, Pools

Objective = Literal["clip", "unimodal", "clip_and_unimodal", "bank_matched"]


@dataclass(frozen=True)
class Stage:
    """One pass over some of the pairs.

    Attributes:
      name: shown in the progress and the metrics.
      objective: the loss.
      pairs: pair indices, int32.
      augment: whether images and captions are augmented.
      learning_rate: a constant, or None for the run's schedule.
    """

    name: str
    objective: Objective
    pairs: np.ndarray
    augment: bool
    learning_rate: float | None = None

    @property
    def kind(self) -> tuple[str, bool]:
        """What decides which train step runs: objective and augmentation."""
        return self.objective, self.augment


@dataclass(frozen=True)
class Before:
    """What comes before the stages of an epoch.

    Attributes:
      pools: whether `Defense.pools` makes new pools.
      distances: whether it is given distances, too.
      reuse: whether scores that pairs had as they trained are recent enough for it.
      anew: whether training then begins again with the initial weights.
    """

    pools: bool = False
    distances: bool = False
    reuse: bool = False
    anew: bool = False


class Defense(Protocol):
    """A plan of training: pure functions of the epoch and the pairs' scores."""

    @property
    def rising_epochs(self) -> float:
        """Epochs in which the scheduled rate still rises, if its own warm-up is shorter."""
        ...

    def before(self, epoch: int) -> Before:
        """What comes before the stages of this epoch."""
        ...

    def pools(
        self,
        epoch: int,
        scores: np.ndarray,
        previous: Pools | None,
        distances: np.ndarray | None = None,
    ) -> Pools:
        """Splits the pairs.

        Args:
          epoch: from 0.
          scores: this epoch's, float32 [N].
          previous: the last epoch's pools, None before the first.
          distances: of each pair's image from others, see `scoring.distances`, if needed.
        """
        ...

    def stages(self, epoch: int, pairs: np.ndarray, pools: Pools | None) -> list[Stage]:
        """The stages of an epoch over `pairs`, all of the data; `pools` are this epoch's."""
        ...


class Unscored:
    """What the plans share that keep no pools."""

    rising_epochs = 0.0

    def before(self, epoch: int) -> Before:
        return Before()

    def pools(
        self,
        epoch: int,
        scores: np.ndarray,
        previous: Pools | None,
        distances: np.ndarray | None = None,
    ) -> Pools:
        raise NotImplementedError("this defence keeps no pools")


@dataclass(frozen=True)
class Without:
    """A defence, less some pairs: they are scored, and train in no stage.

    Attributes:
      defense: that plans.
      left_out: pair indices, int.
    """

    defense: Defense
    left_out: np.ndarray

    @property
    def rising_epochs(self) -> float:
        return self.defense.rising_epochs

    def before(self, epoch: int) -> Before:
        return self.defense.before(epoch)

    def pools(
        self,
        epoch: int,
        scores: np.ndarray,
        previous: Pools | None,
        distances: np.ndarray | None = None,
    ) -> Pools:
        return self.defense.pools(epoch, scores, previous, distances)

    def stages(self, epoch: int, pairs: np.ndarray, pools: Pools | None) -> list[Stage]:
        kept = np.ones(len(pairs), bool)
        kept[self.left_out[self.left_out < len(pairs)]] = False
        planned = self.defense.stages(epoch, pairs, pools)
        return [replace(stage, pairs=stage.pairs[kept[stage.pairs]]) for stage in planned]


def outline(defense: Defense, pairs: np.ndarray, epochs: range) -> Iterator[tuple[int, Stage]]:
    """The stages to come as (epoch, stage), as if every safe pool held half of the pairs."""
    is_safe = np.arange(len(pairs)) < len(pairs) // 2
    pools = Pools(is_safe, np.zeros(len(pairs), np.float32), None, NO_PAIRS)
    for epoch in epochs:
        for stage in defense.stages(epoch, pairs, pools):
            yield epoch, stage


def kinds(defense: Defense, epochs: range) -> list[tuple[str, bool]]:
    """The kinds of stages to come, in their order; they do not depend on the pairs."""
    few = np.arange(2, dtype=np.int32)
    return list(dict.fromkeys(stage.kind for _, stage in outline(defense, few, epochs)))
