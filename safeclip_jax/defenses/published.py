"""SafeCLIP as its authors' public code runs, BigML-CS-UCLA/SafeCLIP at 91488ce.

Where the code departs from the paper it does so here, each departure by a setting of its own. The
files are those of the code: `main.py`, `train.py`, `scheduler.py`, `samplers.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from safeclip_jax.defenses.defense import Place, Stage
from safeclip_jax.defenses.pools import RULES
from safeclip_jax.defenses.safeclip import SafeCLIP
from safeclip_jax.objectives.clip import CLIP
from safeclip_jax.objectives.crosswise import CROSSWISE
from safeclip_jax.objectives.objective import Objective
from safeclip_jax.settings.fields import SHARE, one_of, setting


@dataclass(frozen=True)
class PublishedSafeCLIP(SafeCLIP):
    """SafeCLIP with the code's mixture, first pool, loss and learning rates.

    With them all off, and `rule` and `first_cap` as there, it is `SafeCLIP`.
    """

    rule: str = setting("code", "P(safe), samplers.py:151", one_of(RULES))
    first_cap: float = setting(1.0, "largest share in the first safe pool, main.py:201", SHARE)
    floor: bool = setting(False, "whether the first safe pool has at least one step of growth")
    crosswise: bool = setting(True, "the loss of two views of each pair, train.py:64")
    augmented_scores: bool = setting(True, "scores of augmented views, data.py:121")
    code_rates: bool = setting(True, "rates of three schedules, train.py:101, scheduler.py:21")

    @property
    def _first_bounds(self) -> tuple[float, float]:
        return (min(self.growth, self.first_cap) if self.floor else 0.0), self.first_cap

    @property
    def scores_views(self) -> bool:
        return self.augmented_scores

    @property
    def _of_pairs(self) -> Objective:
        return CROSSWISE if self.crosswise else CLIP

    def rate(self, stage: Stage, place: Place) -> float | None:
        """The rate that the code sets.

        It counts epochs from 1, and multiplies them by the steps of the stage at hand (risky) or
        by their mean over all epochs (safe), against totals of the safe stages alone. So both
        run over the end of their cosine, which rises again.
        """
        if not self.code_rates or stage.learning_rate is not None:
            return stage.learning_rate
        epoch = place.epoch + 1
        if place.epoch < self._first_pools:
            total = float(place.steps_of_all * self._first_pools)
            return _rate(place.steps_of_all * epoch + place.step, total, place)
        total = self.safe_steps(place)
        steps = place.steps
        if stage.name == "safe":
            steps = int(total // (place.epochs - self._first_pools))
        return _rate(steps * epoch + place.step, total, place)

    def safe_steps(self, place: Place) -> float:
        """Steps of all safe stages, were the pool never capped (scheduler.py:21)."""
        first = place.first_share()
        shares = (first + i * self.growth for i in range(place.epochs - self._first_pools))
        return sum(shares) * place.steps_of_all


def _rate(step: int, total: float, place: Place) -> float:
    """Linear to the peak, then a cosine that goes on beyond `total` (scheduler.py:32)."""
    if step < place.warmup:
        return place.peak * (step + 1) / place.warmup
    if total == place.warmup:
        return place.peak
    done = (step - place.warmup) / (total - place.warmup)
    return place.peak * 0.5 * (1 + math.cos(math.pi * done))
