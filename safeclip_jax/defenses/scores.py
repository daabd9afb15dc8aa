"""Scores of pairs by their embeddings: high where image and caption belong together.

Notation: B pairs are scored together, with unit vectors I, T and logit scale s.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from safeclip_jax.objectives import losses
from safeclip_jax.objectives.chunked import Chunks

Pairs = Callable[[jax.Array, jax.Array, jax.Array, Chunks | None], jax.Array]


@dataclass(frozen=True)
class Score:
    """A way to score pairs.

    Attributes:
      of_pairs: of I and T [B, D], s and chunks: [B].
      batch: B that it is made for.
      compares: whether a pair's score depends on the others that it is scored with.
    """

    of_pairs: Pairs
    batch: int = 1024
    compares: bool = True


def cosine(
    images: jax.Array, texts: jax.Array, scale: jax.Array, chunks: Chunks | None = None
) -> jax.Array:
    """I_i · T_i, SafeCLIP's score."""
    return jnp.sum(images * texts, axis=1)


def relative(
    images: jax.Array, texts: jax.Array, scale: jax.Array, chunks: Chunks | None = None
) -> jax.Array:
    """1 − (CLIP loss of the pair) / ln B, which discounts pairs that resemble everything.

    1 where the true partner is certain among the batch's, 0 where it is as likely as any.
    """
    rows, columns, _ = losses.normalizers(images, texts, scale, chunks)
    return _above_expected(images, texts, scale, (rows + columns) / 2)


def typical(
    images: jax.Array, texts: jax.Array, scale: jax.Array, chunks: Chunks | None = None
) -> jax.Array:
    """1 + (ln p + H) / ln B, p the probability of the image by its caption, H this guess' entropy.

    1 where the image is as likely as the caption lets expect, be it one that fits many images or
    one.
    """
    return _above_expected(images, texts, scale, losses.expected(texts, images, scale, chunks))


def _above_expected(
    images: jax.Array, texts: jax.Array, scale: jax.Array, expected: jax.Array
) -> jax.Array:
    return 1 + (scale * cosine(images, texts, scale) - expected) / math.log(len(images))


SCORES = {
    "cosine": Score(cosine, compares=False),
    "relative": Score(relative),
    "typical": Score(typical),
}
