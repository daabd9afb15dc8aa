"""Zero-shot classification with prompt ensembles."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

EmbedTexts = Callable[[Sequence[str]], np.ndarray]


def class_vectors(embed_texts: EmbedTexts, prompts: Sequence[Sequence[str]]) -> np.ndarray:
    """One unit vector a class: the normalised mean of its prompts' embeddings, [C, D].

    Args:
      embed_texts: texts to unit vectors [n, D].
      prompts: for each of the C classes, its texts.

    References:
      Radford et al., 2021, section 3.1.4.
    """
    vectors = embed_texts([text for texts in prompts for text in texts])
    starts = np.cumsum([0, *(len(texts) for texts in prompts[:-1])])
    sums = np.add.reduceat(vectors, starts, axis=0)
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def predict(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Index of the most similar class for each image, [N], from [N, D] and [C, D]."""
    return np.argmax(images @ classes.T, axis=1)


def confusion(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Counts [C, C]: row, the true class; column, the predicted one."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, predictions), 1)
    return counts
