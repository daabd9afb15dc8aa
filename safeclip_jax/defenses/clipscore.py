"""The CLIPScore filter: what people do without a defence of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from safeclip_jax.defenses.defense import Before, Defense, Everything, SafePool, Stage
from safeclip_jax.defenses.pools import Pools, split
from safeclip_jax.errors import UserError
from safeclip_jax.objectives.clip import CLIP
from safeclip_jax.settings.fields import SHARE, above, at_least, setting


@dataclass(frozen=True)
class CLIPScoreFilter(Defense):
    """CLIP on the share k of the pairs whose image and caption a model finds most alike.

    The model is a given one, which sees pictures of the run's size; or CLIP trained on all pairs
    for E epochs, which is then forgotten: training begins again with a schedule of its own, on the
    pairs that it kept, for the epochs that are left.

    References:
      Hessel et al., "CLIPScore", 2021; Gadre et al., "DataComp", 2023, which keeps 30 %.
    """

    keep: float = setting(0.3, "k, share of the pairs that is kept", above(0), SHARE)
    model: str = setting("", "a run or a model that scores the pairs; empty: one of these pairs")
    own_epochs: int = setting(1, "E, of the model of these pairs", at_least(1))

    @property
    def score(self) -> str:
        return "cosine"

    @property
    def scored_by(self) -> str:
        return self.model

    @property
    def forgotten_epochs(self) -> int:
        return 0 if self.model else self.own_epochs

    def before(self, epoch: int) -> Before:
        filters = epoch == self.forgotten_epochs
        return Before(pools=filters, restart=filters and not self.model)

    def pools(
        self,
        epoch: int,
        scores: np.ndarray,
        previous: Pools | None,
        distances: np.ndarray | None = None,
    ) -> Pools:
        if not round(self.keep * len(scores)):
            raise UserError(
                f"clipscore.keep={self.keep} of {len(scores)} pairs keeps none: raise it"
            )
        return split(scores, self.seed, share=self.keep)

    def stages(self, epoch: int) -> Sequence[Stage]:
        if epoch < self.forgotten_epochs:
            return [Stage("own model", CLIP, Everything(), False)]
        return [Stage("kept", CLIP, SafePool(self.keep), False)]
