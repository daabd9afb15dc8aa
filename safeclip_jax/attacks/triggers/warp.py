"""WaNet: the image is warped."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import map_coordinates

from safeclip_jax.attacks.triggers.trigger import to_uint8
from safeclip_jax.settings.fields import above, between, setting


@dataclass(frozen=True)
class Warp:
    """WaNet: the image is resampled at places that a smooth random field has moved.

    The field is k × k × 2 uniform values in [−1, 1], divided by their mean size and stretched
    to the image by bicubic interpolation. In coordinates that run from −1 to 1 over the image
    it moves a pixel by s/32 times its value: by s/2 pixels of 32 on average, the paper's size.

    Attributes:
      grid: k.
      strength: s.
      seed: of the field.

    References:
      Nguyen & Tran, "WaNet: Imperceptible Warping-based Backdoor Attack", 2021, section 3.
    """

    grid: int = setting(4, "points of the random field a side", between(2, 1024))
    strength: float = setting(0.5, "mean shift, twice, in pixels of an image of 32", above(0))
    seed: int = 0

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        rows, columns = _warped_places(self.grid, self.strength, self.seed, *image.shape[:2])
        channels = [
            map_coordinates(image[..., c].astype(float), (rows, columns), order=1, mode="nearest")
            for c in range(3)
        ]
        return to_uint8(np.stack(channels, axis=-1))


_WARP_SIDE = 32


@lru_cache(maxsize=8)
def _warped_places(
    grid: int, strength: float, seed: int, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, in pixels [H, W], where the warped image looks up its pixels."""
    field = np.random.default_rng(seed).uniform(-1, 1, (grid, grid, 2))
    field /= np.mean(np.abs(field))
    field = np.einsum(
        "ik,jl,klc->ijc", _cubic_matrix(grid, height), _cubic_matrix(grid, width), field
    )
    places = []
    for axis, side in enumerate((height, width)):
        line = np.linspace(-1, 1, side)
        line = line[:, None] if axis == 0 else line[None, :]
        moved = np.clip(line + strength * field[..., axis] / _WARP_SIDE, -1, 1)
        places.append((moved + 1) / 2 * (side - 1))
    return places[0], places[1]


def _cubic_matrix(points: int, side: int) -> np.ndarray:
    """Weights [side, points] of bicubic interpolation (a = −0.75) with aligned corners."""
    places = np.linspace(0, points - 1, side)
    weights = np.zeros((side, points))
    first = np.floor(places).astype(int)
    for offset in range(-1, 3):
        neighbor = first + offset
        distance = np.abs(places - neighbor)
        np.add.at(
            weights,
            (np.arange(side), np.clip(neighbor, 0, points - 1)),
            _cubic_kernel(distance),
        )
    return weights


def _cubic_kernel(distance: np.ndarray, a: float = -0.75) -> np.ndarray:
    d = distance
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
