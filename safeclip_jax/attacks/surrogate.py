"""An attacker's own model, which chooses poisons that look honest to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

import safeclip_jax
from safeclip_jax.attacks.captions import Match
from safeclip_jax.data.sources.base import Source
from safeclip_jax.errors import BadRecord, UserError, said_by
from safeclip_jax.inference.model import Model

_AT_ONCE = 1024


def load(path: str) -> Model:
    """The model of a path, as for `safeclip_jax.load`; errors name the setting."""
    with said_by("attack.surrogate", "attack."):
        return safeclip_jax.load(path)


def matcher(path: str) -> Match | None:
    """Finds, by a trained model, the most similar caption of each image; None without a path.

    An image that cannot be read is like none.

    Args:
      path: of a run or a model, as for `safeclip_jax.load`.
    """
    if not path:
        return None

    def match(
        source: Source, pairs: np.ndarray, captions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        model = load(path)
        texts = model.embed_texts([source.captions[int(i)] for i in captions], _AT_ONCE)
        nearest, similarity = np.zeros(len(pairs), np.int64), np.full(len(pairs), -np.inf)
        for start in range(0, len(pairs), _AT_ONCE):
            rows, pictures = [], []
            for row, index in enumerate(pairs[start : start + _AT_ONCE], start):
                try:
                    pictures.append(source.image(int(index)))
                    rows.append(row)
                except BadRecord:
                    continue
            found = model.embed_images(pictures, _AT_ONCE) @ texts.T
            nearest[rows] = captions[found.argmax(axis=1)]
            similarity[rows] = found.max(axis=1)
        return nearest, similarity

    return match


@dataclass(frozen=True)
class Encoder:
    """An attacker's own model, to choose captions for images.

    Attributes:
      texts: to unit vectors [n, D].
      image: uint8 [S, S, 3] to a unit vector [D].
    """

    texts: Callable[[Sequence[str]], np.ndarray]
    image: Callable[[np.ndarray], np.ndarray]


def encoder(path: str) -> Encoder:
    """Reads it.

    Args:
      path: of a run or a model, as for `safeclip_jax.load`.

    Raises:
      UserError: if there is no path, or the model cannot be read.
    """
    if not path:
        raise UserError("attack.captions=background needs attack.surrogate, a trained model")
    model = load(path)
    return Encoder(
        lambda texts: model.embed_texts(texts, _AT_ONCE),
        lambda image: model.embed_images([image], 1)[0],
    )
