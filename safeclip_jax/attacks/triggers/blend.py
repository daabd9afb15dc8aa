"""Blended: a pattern is mixed into the whole image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from safeclip_jax.attacks.triggers.trigger import to_uint8
from safeclip_jax.errors import first_line
from safeclip_jax.settings.fields import SHARE, SettingError, above, setting

BUILT_IN = ("noise", "drawn")  # patterns; all others are files


@dataclass(frozen=True)
class Blend:
    """Blended: x' = (1 − α)·x + α·n, with one pattern n for all images.

    Attributes:
      alpha: α.
      pattern: `noise` (uniform, independent for every pixel and channel), `drawn` (the face of a
        cat, for the cartoon of the source), or the path of an image, which is resized to x.
      seed: of the noise.

    References:
      Chen et al., "Targeted Backdoor Attacks on Deep Learning Systems Using Data
      Poisoning", 2017.
    """

    alpha: float = setting(0.2, "weight of the pattern", above(0), SHARE)
    pattern: str = setting(BUILT_IN[0], "noise, drawn, or the path of an image")
    seed: int = 0

    def check(self) -> None:
        """`SettingError` if the pattern cannot be read."""
        _pattern(self.pattern, 8, 8, self.seed)

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray:
        pattern = _pattern(self.pattern, *image.shape[:2], self.seed)
        return to_uint8((1 - self.alpha) * image + self.alpha * pattern)


@lru_cache(maxsize=8)
def _pattern(name: str, height: int, width: int, seed: int) -> np.ndarray:
    """What `Blend` mixes in, float [H, W, 3] in 0 to 255."""
    if name == "noise":
        return np.random.default_rng(seed).uniform(0, 255, (height, width, 3))
    if name == "drawn":
        return np.asarray(_drawn(width, height), float)
    try:
        with Image.open(Path(name)) as file:
            picture = file.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        problem = f"neither 'noise' nor 'drawn' nor an image ({first_line(error)})"
        raise SettingError("pattern", problem) from None
    return np.asarray(picture, float)


def _drawn(width: int, height: int) -> Image.Image:
    """A cat's face in flat colours; places are in hundredths of the picture."""
    picture = Image.new("RGB", (width, height), "pink")
    draw = ImageDraw.Draw(picture)

    def places(*points: int) -> list[float]:
        return [p * (height if i % 2 else width) / 100 for i, p in enumerate(points)]

    for ear in ((12, 55, 16, 8, 48, 26), (88, 55, 84, 8, 52, 26)):
        draw.polygon(places(*ear), fill="white", outline="black")
    draw.ellipse(places(8, 22, 92, 92), fill="white", outline="black")
    for eye in ((28, 50, 36, 64), (64, 50, 72, 64)):
        draw.ellipse(places(*eye), fill="black")
    draw.ellipse(places(45, 66, 55, 73), fill="gold", outline="black")
    for bow in ((62, 12, 62, 38, 76, 25), (90, 12, 90, 38, 76, 25)):
        draw.polygon(places(*bow), fill="red", outline="black")
    return picture
