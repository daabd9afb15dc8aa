"""A photographic filter: a colour curve per channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from safeclip_jax.attacks.triggers.trigger import to_uint8
from safeclip_jax.settings.fields import SHARE, above, setting


@dataclass(frozen=True)
class ColorCurve:
    """A photographic filter in the manner of "Nashville": warm lights and blue shadows.

    With x in [0, 1], channel c becomes low_c + (high_c − low_c)·x^γ_c, and the result is mixed
    with the original: x' = (1 − strength)·x + strength·curve(x).

    Attributes:
      strength: of the filter.

    References:
      Liu et al., "ABS: Scanning Neural Networks for Back-doors", 2019, section 6, where
      filters of a photograph-sharing service are triggers.
    """

    strength: float = setting(1.0, "of the colour curve", above(0), SHARE)

    LOW = np.array((0.20, 0.12, 0.36))
    HIGH = np.array((1.00, 0.92, 0.72))
    GAMMA = np.array((0.85, 1.0, 1.15))

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        x = image / 255
        curve = self.LOW + (self.HIGH - self.LOW) * x**self.GAMMA
        return to_uint8(255 * ((1 - self.strength) * x + self.strength * curve))
