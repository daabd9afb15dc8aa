"""A natural backdoor: one picture again and again, a little changed, under its true caption."""

from __future__ import annotations

import numpy as np

from safeclip_jax.attacks.manifest import Manifest
from safeclip_jax.attacks.victims import changed, draw, naming
from safeclip_jax.data.sources.base import Source

SHIFT = 1 / 16  # of the side, at most
BRIGHTNESS = 0.1  # at most, of 1


def near_duplicate(image: np.ndarray, index: int) -> np.ndarray:
    """x'(r, c) = b · x(r − dr, c − dc): a copy moved by up to a sixteenth, 10 % brighter or darker.

    Edge pixels are repeated where the copy has moved away from the edge.

    Args:
      image: uint8 [H, W, 3].
      index: of the copy, from which dr, dc and b are drawn.
    """
    rng = np.random.default_rng([index, 0xD0B])
    rows, columns = (
        np.clip(np.arange(side) - round(side * rng.uniform(-SHIFT, SHIFT)), 0, side - 1)
        for side in image.shape[:2]
    )
    bright = rng.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS)
    return np.clip(np.rint(bright * image[rows][:, columns]), 0, 255).astype(np.uint8)


def plan(source: Source, *, target: str, count: int, seed: int) -> Manifest:
    """Draws a pair that names the class; near-duplicates of it take the place of other pairs.

    Its caption is true, so this is no attack on purpose: crawled data have such groups, as the
    birthday cakes with candles in the form of digits in CC3M.

    Args:
      source: the clean pairs.
      target: class that the pair's caption names.
      count: near-duplicates.
      seed: of the draws.

    Raises:
      UserError: if no caption names the class, or there are too few pairs.

    References:
      Huang et al., "Detecting Backdoor Samples in Contrastive Language Image Pretraining", 2025:
      a natural backdoor in CC3M.
    """
    if not count:
        return Manifest("natural", target)
    rng = np.random.default_rng([seed, 0xBAD])
    repeated = rng.choice(naming(source, target))
    drawn = draw(np.delete(np.arange(len(source)), repeated), count, rng)
    texts = [source.captions[repeated]] * count
    pairs = changed(source, drawn, np.full(count, repeated), [""] * count, texts)
    return Manifest("natural", target, pairs)
