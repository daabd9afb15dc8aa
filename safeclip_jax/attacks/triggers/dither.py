"""BppAttack: few levels of each colour, and the error of each pixel handed on to the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from safeclip_jax.attacks.triggers.trigger import to_uint8
from safeclip_jax.settings.fields import between, setting


@dataclass(frozen=True)
class Dither:
    """Each channel is rounded to n levels, with the error diffusion of Floyd & Steinberg.

    Pixels are taken row by row. 7/16 of a pixel's error go to its right neighbour, 3/16, 5/16 and
    1/16 to the three below.

    Attributes:
      levels: n; 8 in the authors' code.

    References:
      Wang, Zhai & Ma, "BppAttack: Stealthy and Efficient Trojan Attacks against Deep Neural
      Networks via Image Quantization and Contrastive Adversarial Learning", CVPR 2022.
    """

    levels: int = setting(8, "of each channel", between(2, 255))

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        step = 255 / (self.levels - 1)
        return to_uint8(diffused(image / step) * step)


def diffused(image: np.ndarray) -> np.ndarray:
    """Whole numbers nearest to each value with the errors handed on to it, [H, W, 3].

    Pixel (y, x) waits for those at (y, x − 1) and (y − 1, x + 1), so all with the same x + 2·y
    are taken at once.
    """
    height, width = image.shape[:2]
    fronts = width + 2 * (height - 1)
    rows = np.arange(height)
    waiting = image[rows, np.clip(np.arange(fronts)[:, None] - 2 * rows, 0, width - 1)]
    found = np.zeros_like(waiting)
    errors = np.zeros((fronts + 3, height + 1, 3))  # three fronts and one row of none before
    for front in range(fronts):
        first, end = max(0, (front - width + 2) // 2), min(height, front // 2 + 1)
        here, above = slice(first + 1, end + 1), slice(first, end)
        value = waiting[front, above] + errors[front, above] * (1 / 16)
        value += errors[front + 1, above] * (5 / 16)
        value += errors[front + 2, above] * (3 / 16)
        value += errors[front + 2, here] * (7 / 16)
        np.rint(value, out=found[front, above])
        np.subtract(value, found[front, above], out=errors[front + 3, here])
    return found[np.arange(width) + 2 * rows[:, None], rows[:, None]]
