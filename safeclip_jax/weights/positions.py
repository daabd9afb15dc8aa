"""Positional embeddings of images for another resolution."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from safeclip_jax.errors import UserError


def resize(positions: np.ndarray, length: int) -> np.ndarray:
    """Resamples a square grid of positions, bicubically and antialiased.

    Args:
      positions: [L, W]: a grid row by row, behind the class token's where L is no square.
      length: of the result, with the same first row.

    Raises:
      UserError: if either length is no square or one more than a square.
    """
    if length == len(positions):
        return positions
    first, old = _grid(len(positions))
    also_first, new = _grid(length)
    if first != also_first:
        raise UserError(f"positions of length {len(positions)} cannot become {length}")
    grid = positions[first:].reshape(old, old, -1)
    resized = jax.image.resize(jnp.asarray(grid), (new, new, grid.shape[-1]), "bicubic")
    return np.concatenate([positions[:first], np.asarray(resized).reshape(new * new, -1)])


def _grid(length: int) -> tuple[int, int]:
    """Tokens before the grid (0 or 1) and the grid's side."""
    for first in (1, 0):
        side = math.isqrt(max(length - first, 0))
        if side and side * side + first == length:
            return first, side
    raise UserError(f"positions of length {length} are no square grid")
