"""What a defence tells the train loop: the stages of an epoch, and which pairs they train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from safeclip_jax.defenses.pools import Pools
from safeclip_jax.errors import UserError
from safeclip_jax.objectives.objective import Objective


class Part(Protocol):
    """Which of the pairs a stage trains."""

    def count(self, pairs: int) -> int | None:
        """How many of so many pairs; None if the scores decide."""
        ...

    def indices(self, pairs: int, pools: Pools | None) -> np.ndarray:
        """Pair indices, int32, ascending; `pools` are this epoch's."""
        ...


@dataclass(frozen=True)
class Everything:
    """All pairs."""

    def count(self, pairs: int) -> int | None:
        return pairs

    def indices(self, pairs: int, pools: Pools | None) -> np.ndarray:
        return np.arange(pairs, dtype=np.int32)


@dataclass(frozen=True)
class SafePool:
    """The safe pool.

    Attributes:
      share: of the pairs in it, where that is fixed; None if the scores decide.
    """

    share: float | None = None

    def count(self, pairs: int) -> int | None:
        return None if self.share is None else round(self.share * pairs)

    def indices(self, pairs: int, pools: Pools | None) -> np.ndarray:
        assert pools is not None
        return pools.safe


@dataclass(frozen=True)
class RiskyPool:
    """The risky pool."""

    def count(self, pairs: int) -> int | None:
        return None

    def indices(self, pairs: int, pools: Pools | None) -> np.ndarray:
        assert pools is not None
        return pools.risky


@dataclass(frozen=True)
class Less:
    """A part without some pairs.

    Attributes:
      part: of which.
      left_out: pair indices, int.
    """

    part: Part
    left_out: np.ndarray

    def count(self, pairs: int) -> int | None:
        whole = self.part.count(pairs)
        return whole - len(self.left_out) if whole == pairs else None

    def indices(self, pairs: int, pools: Pools | None) -> np.ndarray:
        kept = np.ones(pairs, bool)
        kept[self.left_out] = False
        found = self.part.indices(pairs, pools)
        return found[kept[found]]


@dataclass(frozen=True)
class Stage:
    """One pass over some of the pairs.

    Attributes:
      name: shown in the progress and the metrics.
      objective: what it minimises.
      part: the pairs that it trains.
      augment: whether images and captions are augmented.
      learning_rate: a constant, or None for the run's schedule.
    """

    name: str
    objective: Objective
    part: Part
    augment: bool
    learning_rate: float | None = None

    @property
    def kind(self) -> tuple[Objective, bool]:
        """What decides which train step runs: objective and augmentation."""
        return self.objective, self.augment


@dataclass(frozen=True)
class Place:
    """Where a step is in a run, for learning rates.

    Attributes:
      epoch: from 0.
      epochs: of the run.
      step: of its stage, from 0.
      steps: of its stage.
      steps_of_all: that an epoch of all pairs would have.
      peak: the run's largest rate.
      warmup: the run's steps until then.
      first_share: gives the share of all pairs in the first safe pool, once there is one.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    steps_of_all: int
    peak: float
    warmup: float
    first_share: Callable[[], float]


@dataclass(frozen=True)
class Before:
    """What comes before the stages of an epoch.

    Attributes:
      pools: whether `Defense.pools` makes new pools.
      distances: whether it is given distances, too.
      reuse: whether scores that pairs had as they trained are recent enough for it.
      restart: whether training then begins again with the initial weights.
    """

    pools: bool = False
    distances: bool = False
    reuse: bool = False
    restart: bool = False


@dataclass(frozen=True)
class Defense:
    """A plan of training: pure functions of the epoch and the pairs' scores.

    This one does without pools. A defence is a subclass whose fields are its settings, see
    `settings.fields`, and a line in `defenses.DEFENSES`.

    Attributes:
      seed: of the run.
      score: in `scores.SCORES`; empty for that of the run.
      forgotten_epochs: the first ones, with a schedule of their own, whose weights are forgotten.
      scored_by: a run or a model whose cosines are the scores; empty: the model that is trained.
      scores_views: whether scores are of an augmented view of each pair, not of the pair itself.
      warmup_epochs_at_least: epochs in which the scheduled rate still rises, if its own warm-up
        is shorter.
    """

    seed: int = 0

    @property
    def score(self) -> str:
        return ""

    @property
    def warmup_epochs_at_least(self) -> float:
        return 0.0

    @property
    def forgotten_epochs(self) -> int:
        return 0

    @property
    def scored_by(self) -> str:
        return ""

    @property
    def scores_views(self) -> bool:
        return False

    def check(self, starts_from: str, poisons: bool) -> None:
        """Raises `UserError` if the defence cannot be used so.

        Args:
          starts_from: what `init_from` names.
          poisons: whether the run poisons its data.
        """

    def before(self, epoch: int) -> Before:
        """What comes before the stages of this epoch."""
        return Before()

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
        raise NotImplementedError(f"{type(self).__name__} keeps no pools")

    def stages(self, epoch: int) -> Sequence[Stage]:
        """The stages of an epoch."""
        raise NotImplementedError

    def rate(self, stage: Stage, place: Place) -> float | None:
        """The learning rate of a step, or None for the run's schedule."""
        return stage.learning_rate


def fine_tunes(name: str, starts_from: str, poisons: bool) -> None:
    """`UserError` unless there is a model to fine-tune, and its pairs are trusted."""
    if not starts_from:
        raise UserError(f"defense={name} fine-tunes a finished run: set init_from to its folder")
    if poisons:
        raise UserError(f"defense={name} trains on trusted pairs: set attack.rate and count to 0")


def without(stages: Sequence[Stage], left_out: np.ndarray) -> list[Stage]:
    """The stages, less some pairs: they are scored, and train in none."""
    if not len(left_out):
        return list(stages)
    return [replace(stage, part=Less(stage.part, left_out)) for stage in stages]
