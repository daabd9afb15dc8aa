"""Caption augmentation after EDA, "easy data augmentation" (Wei & Zou, 2019).

One of three operations, drawn at random, is applied to a tenth of a caption's words (to
at least one): insertion, swap or deletion. An inserted word is one of the caption's own,
for EDA's synonyms need a thesaurus.
"""

from __future__ import annotations

import numpy as np

SHARE_CHANGED = 0.1


def augment(caption: str, rng: np.random.Generator) -> str:
    """Returns the caption changed by one operation; a single word stays as it is.

    Args:
      caption: words separated by white space.
      rng: source of every random choice.
    """
    words = caption.split()
    operation = (_insert, _swap, _delete)[int(rng.integers(3))]
    for _ in range(max(1, round(SHARE_CHANGED * len(words)))):
        if len(words) < 2:
            break
        words = operation(words, rng)
    return " ".join(words)


def _insert(words: list[str], rng: np.random.Generator) -> list[str]:
    word, at = words[int(rng.integers(len(words)))], int(rng.integers(len(words) + 1))
    return [*words[:at], word, *words[at:]]


def _swap(words: list[str], rng: np.random.Generator) -> list[str]:
    i = int(rng.integers(len(words)))
    j = (i + int(rng.integers(1, len(words)))) % len(words)
    words = list(words)
    words[i], words[j] = words[j], words[i]
    return words


def _delete(words: list[str], rng: np.random.Generator) -> list[str]:
    at = int(rng.integers(len(words)))
    return [*words[:at], *words[at + 1 :]]
