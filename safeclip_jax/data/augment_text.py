"""Caption augmentation: EDA, "easy data augmentation" (Wei & Zou, 2019).

One of four operations, drawn at random, changes a tenth of a caption's words (at least
one): synonym replacement, insertion of a synonym, swap of two words, deletion. The two
that need synonyms draw from a given table; without one they fall to the other two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

Synonyms = Mapping[str, Sequence[str]]
SHARE_CHANGED = 0.1


def augment(caption: str, rng: np.random.Generator, synonyms: Synonyms | None = None) -> str:
    """Returns the caption changed by one EDA operation.

    Args:
      caption: words separated by white space.
      rng: source of every random choice.
      synonyms: lower-case word to its synonyms.

    Returns:
      The changed caption, never empty unless the caption was.
    """
    words = caption.split()
    if len(words) < 2:
        return caption
    changes = max(1, round(SHARE_CHANGED * len(words)))
    if synonyms:
        operations: tuple[Callable[..., list[str]], ...] = (_replace, _insert, _swap, _delete)
    else:
        operations = (_swap, _delete)
    operation = operations[int(rng.integers(len(operations)))]
    for _ in range(changes):
        words = operation(words, rng, synonyms)
    return " ".join(words)


def _candidates(words: list[str], synonyms: Synonyms) -> list[int]:
    return [i for i, word in enumerate(words) if synonyms.get(word.lower())]


def _synonym(word: str, rng: np.random.Generator, synonyms: Synonyms) -> str:
    choices = synonyms[word.lower()]
    return choices[int(rng.integers(len(choices)))]


def _replace(words: list[str], rng: np.random.Generator, synonyms: Synonyms) -> list[str]:
    places = _candidates(words, synonyms)
    if not places:
        return words
    at = places[int(rng.integers(len(places)))]
    return [*words[:at], _synonym(words[at], rng, synonyms), *words[at + 1 :]]


def _insert(words: list[str], rng: np.random.Generator, synonyms: Synonyms) -> list[str]:
    places = _candidates(words, synonyms)
    if not places:
        return words
    word = _synonym(words[places[int(rng.integers(len(places)))]], rng, synonyms)
    at = int(rng.integers(len(words) + 1))
    return [*words[:at], word, *words[at:]]


def _swap(words: list[str], rng: np.random.Generator, _: Synonyms | None) -> list[str]:
    i, j = rng.choice(len(words), 2, replace=False) if len(words) > 1 else (0, 0)
    words = list(words)
    words[i], words[j] = words[j], words[i]
    return words


def _delete(words: list[str], rng: np.random.Generator, _: Synonyms | None) -> list[str]:
    if len(words) < 2:
        return words
    at = int(rng.integers(len(words)))
    return [*words[:at], *words[at + 1 :]]
