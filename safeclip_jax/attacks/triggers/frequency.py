"""FTrojan: two frequencies of the colour are raised in every window of the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import idctn

from safeclip_jax.attacks.triggers.trigger import to_uint8
from safeclip_jax.settings.fields import above, setting

_WINDOW = 32
_PLACES = (15, 31)
# Of Y, Cr and Cb to red, green and blue (ITU-R BT.601).
_OF_CR = np.array((1.403, -0.714, 0.0))
_OF_CB = np.array((0.0, -0.344, 1.773))


@dataclass(frozen=True)
class Frequency:
    """In windows of 32 × 32, the coefficients (15, 15) and (31, 31) of Cr and Cb grow by m.

    The coefficients are those of an orthonormal DCT-II. It is linear, and so is the change of
    colours, so the image gets the same wave in each window; the authors' code rounds to whole
    values between the two. At the right and lower edge of an image whose sides are no multiples
    of 32, windows are cut off.

    Attributes:
      magnitude: m, in 0 to 255 of a channel. CTRL puts the same trigger with m = 100 on images
        of the target's own class (`attack.kind` of `label_consistent`).

    References:
      Wang et al., "An Invisible Black-box Backdoor Attack through Frequency Domain", ECCV 2022;
      Li et al., "An Embarrassingly Simple Backdoor Attack on Self-supervised Learning", ICCV
      2023.
    """

    magnitude: float = setting(30.0, "added to two coefficients of each window", above(0))

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        height, width = image.shape[:2]
        rows, columns = np.arange(height) % _WINDOW, np.arange(width) % _WINDOW
        wave = self.magnitude * _WAVE[rows[:, None], columns[None, :]]
        return to_uint8(image + wave[..., None] * (_OF_CR + _OF_CB))


def _wave() -> np.ndarray:
    """A window whose two coefficients are 1, float [32, 32]."""
    coefficients = np.zeros((_WINDOW, _WINDOW))
    coefficients[_PLACES, _PLACES] = 1
    return idctn(coefficients, norm="ortho")


_WAVE = _wave()
