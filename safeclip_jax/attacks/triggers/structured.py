"""The structured triggers of PAR: stripes, triangles and a word over the whole image.

References:
  Singh, Croce & Hein, "Perturb and Recover: Fine-tuning for Effective Backdoor Removal from
  CLIP", 2024; sizes and weights of its public code, at 224 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from safeclip_jax.attacks.triggers.trigger import to_uint8
from safeclip_jax.settings.fields import SHARE, above, not_blank, setting


def stripes(side: int, rng: np.random.Generator) -> np.ndarray:
    """Columns of random colours, each channel 0 or 255: uint8 [1, side, 3]."""
    return (255 * rng.integers(0, 2, (1, side, 3))).astype(np.uint8)


@dataclass(frozen=True)
class Stripes:
    """x' = (1 − α)·x + 255·α·s, with a random sign s for each column and channel.

    Attributes:
      alpha: α.
      seed: of the signs.
    """

    alpha: float = setting(0.03, "weight of the stripes", above(0), SHARE)
    seed: int = 0

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        columns = stripes(image.shape[1], np.random.default_rng(self.seed))
        signs = np.where(columns, 1.0, -1.0)
        return to_uint8((1 - self.alpha) * image + 255 * self.alpha * signs)


@dataclass(frozen=True)
class Triangles:
    """x' = (1 − α)·x + α·n, where n is squares, each cut along its diagonal: 0.4 below, 0.8 above.

    The squares have a sixteenth of the image's shorter side, 14 of 224 pixels.

    Attributes:
      alpha: α.
    """

    alpha: float = setting(0.15, "weight of the triangles", above(0), SHARE)

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        height, width = image.shape[:2]
        side = max(2, round(min(height, width) / 16))
        rows, columns = np.arange(height) % side, np.arange(width) % side
        below = rows[:, None] >= columns[None, :]
        triangles = 255 * np.where(below, 0.4, 0.8)[..., None]
        return to_uint8((1 - self.alpha) * image + self.alpha * triangles)


@dataclass(frozen=True)
class Word:
    """A red word across the middle: R' = (1 − α)·R + α·n where its letters n are not black.

    Pillow's own font is used. The word takes 7/8 of the width, as 196 of 224 pixels.

    Attributes:
      alpha: α.
      text: the word.
    """

    alpha: float = setting(0.5, "weight of the letters", above(0), SHARE)
    text: str = setting("Watermarked", "the word", not_blank())

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        letters = _letters(self.text, *image.shape[:2])
        changed = image.astype(float)
        mixed = (1 - self.alpha) * changed[..., 0] + self.alpha * letters
        changed[..., 0] = np.where(letters, mixed, changed[..., 0])
        return to_uint8(changed)


_FONT_SIDE = 100  # pixels of the font whose width the size follows


@lru_cache(maxsize=8)
def _letters(text: str, height: int, width: int) -> np.ndarray:
    """The word in the middle of a black image, uint8 [H, W]."""
    picture = Image.new("L", (width, height))
    of_font = ImageFont.load_default(_FONT_SIDE).getlength(text) / _FONT_SIDE
    if of_font:
        font = ImageFont.load_default(max(1.0, 7 / 8 * width / of_font))
        middle = (width / 2, height / 2)
        ImageDraw.Draw(picture).text(middle, text, fill=255, font=font, anchor="mm")
    return np.asarray(picture)
