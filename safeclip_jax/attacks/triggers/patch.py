"""BadNets: a small patch is pasted into the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from safeclip_jax.attacks.triggers.structured import stripes
from safeclip_jax.settings.fields import SHARE, above, one_of, setting


def _checkerboard(side: int, rng: np.random.Generator) -> np.ndarray:
    rows, columns = np.indices((side, side))
    board = np.where((rows + columns) % 2 == 0, 255, 0).astype(np.uint8)
    return np.repeat(board[..., None], 3, axis=2)


def _noise(side: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (side, side, 3), dtype=np.uint8)


def _white(side: int, rng: np.random.Generator) -> np.ndarray:
    return np.full((side, side, 3), 255, np.uint8)


def _dots(side: int, rng: np.random.Generator) -> np.ndarray:
    board = np.zeros((side, side, 3), np.uint8)
    board[::2, ::2] = 255
    return board


def _stripes(side: int, rng: np.random.Generator) -> np.ndarray:
    return np.repeat(stripes(side, rng), side, axis=0)


PATTERNS: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "checkerboard": _checkerboard,
    "dots": _dots,
    "noise": _noise,
    "stripes": _stripes,
    "white": _white,
}
CORNERS = ("top_left", "top_right", "bottom_left", "bottom_right")
POSITIONS = (*CORNERS, "center", "random", "four_corners")


@dataclass(frozen=True)
class Patch:
    """BadNets: a small patch is pasted into the image.

    Attributes:
      pattern: a name in `PATTERNS`.
      position: a corner, `four_corners`, `center`, or `random` (drawn anew for each image).
      size: side of the patch as a share of the image's shorter side; 1/14 is 16 of 224 pixels.
      seed: of the noise, the stripes' colours and random positions.

    References:
      Gu et al., "BadNets", 2017; on CLIP: Carlini & Terzis, "Poisoning and Backdooring
      Contrastive Learning", 2022.
    """

    pattern: str = setting("checkerboard", "what the patch shows", one_of(PATTERNS))
    position: str = setting("bottom_right", "where it is pasted", one_of(POSITIONS))
    size: float = setting(0.0714, "its side over the image's: 16 of 224 pixels", above(0), SHARE)
    seed: int = 0

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        height, width = image.shape[:2]
        side = max(1, round(self.size * min(height, width)))
        patched = image.copy()
        patch = PATTERNS[self.pattern](side, np.random.default_rng(self.seed))
        for position in CORNERS if self.position == "four_corners" else (self.position,):
            top, left = self._place(position, height - side, width - side, index)
            patched[top : top + side, left : left + side] = patch
        return patched

    def _place(self, position: str, height: int, width: int, index: int) -> tuple[int, int]:
        """Top-left corner of the patch, given the largest possible one."""
        if position == "random":
            rng = np.random.default_rng([self.seed, index])
            return int(rng.integers(height + 1)), int(rng.integers(width + 1))
        if position == "center":
            return height // 2, width // 2
        vertical, horizontal = position.split("_")
        return 0 if vertical == "top" else height, 0 if horizontal == "left" else width
