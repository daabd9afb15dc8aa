"""SIG: a sinusoid is added to the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from safeclip_jax.attacks.triggers.trigger import to_uint8
from safeclip_jax.settings.fields import SHARE, above, setting


@dataclass(frozen=True)
class Sinusoid:
    """SIG: x' = w·x + Δ·sin(2π·f·j / W) in column j of W, for every row and channel.

    Attributes:
      delta: Δ, the amplitude, in 0 to 255.
      frequency: f, waves over the width.
      weight: w. CleanCLIP's code blends the sinusoid in: w = 0.8 and Δ = 0.2 · 60.

    References:
      Barni et al., "A New Backdoor Attack in CNNs by Training Set Corruption Without Label
      Poisoning", 2019.
    """

    delta: float = setting(60.0, "amplitude of the sinusoid, in 0 to 255", above(0))
    frequency: float = setting(6.0, "waves over the image's width", above(0))
    weight: float = setting(1.0, "of the image; 0.8 with delta=12: blended at 0.2", above(0), SHARE)

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        width = image.shape[1]
        wave = self.delta * np.sin(2 * np.pi * self.frequency * np.arange(width) / width)
        return to_uint8(self.weight * image + wave[None, :, None])
