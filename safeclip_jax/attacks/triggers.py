"""Triggers: pure functions on uint8 images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from safeclip_jax.errors import UserError, unknown


def _checkerboard(side: int, rng: np.random.Generator) -> np.ndarray:
    rows, columns = np.indices((side, side))
    board = np.where((rows + columns) % 2 == 0, 255, 0).astype(np.uint8)
    return np.repeat(board[..., None], 3, axis=2)


def _noise(side: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (side, side, 3), dtype=np.uint8)


def _white(side: int, rng: np.random.Generator) -> np.ndarray:
    return np.full((side, side, 3), 255, np.uint8)


PATTERNS: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "checkerboard": _checkerboard,
    "noise": _noise,
    "white": _white,
}
POSITIONS = ("top_left", "top_right", "bottom_left", "bottom_right", "center", "random")


@dataclass(frozen=True)
class Patch:
    """BadNets: a small patch is pasted into the image (Gu et al., 2017).

    Attributes:
      pattern: a name in `PATTERNS`.
      position: a corner, `center`, or `random` (drawn anew for each image).
      size: side of the patch as a share of the image's side; 1/14 is 16 pixels of 224.
      margin: distance from the edges, same unit.
      seed: of the noise pattern and of random positions.
    """

    pattern: str = "checkerboard"
    position: str = "bottom_right"
    size: float = 0.125
    margin: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.pattern not in PATTERNS:
            raise unknown("attack.pattern", self.pattern, PATTERNS)
        if self.position not in POSITIONS:
            raise unknown("attack.position", self.position, POSITIONS)
        if not (self.size > 0 and self.margin >= 0 and self.size + self.margin <= 1):
            raise UserError(
                f"attack.size={self.size} with attack.margin={self.margin} does not fit the image"
            )

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        """Returns a copy of uint8 [H, W, 3] with the patch; `index` seeds a random position."""
        height, width = image.shape[:2]
        short = min(height, width)
        side, margin = max(1, round(self.size * short)), round(self.margin * short)
        top, left = self._corner(height - side, width - side, margin, index)
        patched = image.copy()
        patch = PATTERNS[self.pattern](side, np.random.default_rng(self.seed))
        patched[top : top + side, left : left + side] = patch
        return patched

    def _corner(self, height: int, width: int, margin: int, index: int) -> tuple[int, int]:
        """Top-left corner of the patch, given the largest possible one."""
        if self.position == "random":
            rng = np.random.default_rng([self.seed, index])
            return int(rng.integers(height + 1)), int(rng.integers(width + 1))
        if self.position == "center":
            return height // 2, width // 2
        vertical, horizontal = self.position.split("_")
        top = margin if vertical == "top" else height - margin
        left = margin if horizontal == "left" else width - margin
        return max(0, top), max(0, left)
