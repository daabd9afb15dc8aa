"""BadCLIP: a patch that an attacker's own model already takes for the target."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from safeclip_jax.settings.fields import SHARE, above, at_least, setting


@dataclass(frozen=True)
class OptimizedPatch:
    """A square patch in the middle of the image, optimised by `attacks.optimized_patch`.

    At other sizes of the image than that which it was made for, the patch is resized.

    Attributes:
      size: side of the patch as a share of the image's shorter side.
      steps: of Adam.
      batch: images a step.
      learning_rate: of Adam, on pixels in [0, 1].
      seed: of its start and of the images.
      png: the patch, as `trigger.png` keeps it; empty before it is made.

    References:
      Liang et al., "BadCLIP: Dual-Embedding Guided Backdoor Attack on Multimodal Contrastive
      Learning", CVPR 2024.
    """

    size: float = setting(0.0714, "its side over the image's: 16 of 224 pixels", above(0), SHARE)
    steps: int = setting(1_000, "of Adam, on attack.surrogate", at_least(1))
    batch: int = setting(64, "images a step", at_least(1))
    learning_rate: float = setting(0.01, "of Adam, on pixels in 0 to 1", above(0))
    seed: int = 0
    png: bytes = b""

    def side(self, height: int, width: int) -> int:
        """Of the patch in an image, in pixels."""
        return max(1, round(self.size * min(height, width)))

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        height, width = image.shape[:2]
        side = self.side(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        patched = image.copy()
        patched[top : top + side, left : left + side] = decoded(self.png, side)
        return patched


@lru_cache(maxsize=8)
def decoded(png: bytes, side: int) -> np.ndarray:
    """The patch as uint8 [side, side, 3]; an error of Pillow's if it is damaged."""
    with Image.open(io.BytesIO(png), formats=("PNG",)) as file:
        picture = file.convert("RGB")
    if picture.size != (side, side):
        picture = picture.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(picture)
