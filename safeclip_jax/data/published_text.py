"""Caption augmentation as the authors' code of SafeCLIP has it (`utils/eda.py` there).

A caption becomes words of small letters, and one operation of four is drawn: synonyms for a tenth
of its words (for at least one) that are no stop words; as many synonyms inserted; as many swaps;
or each word deleted with probability 0.1. Without a thesaurus the first two change no word.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

from safeclip_jax.data.augment_text import SHARE_CHANGED, below
from safeclip_jax.data.wordnet import Synonyms

_DELETED = 0.1
_TRIES = 10  # words that are asked for a synonym to insert
_PLACES = 3  # that are drawn to swap a word with another
_NOT_LETTERS = re.compile(r"[^a-z]+")

Operation = Callable[[list[str], int, Random, Synonyms | None], list[str]]


def augment(caption: str, rng: Random, synonyms: Synonyms | None = None) -> str:
    """Returns the caption changed by one operation; as it is if it has no Latin letter.

    Args:
      caption: any text.
      rng: source of every random choice.
      synonyms: the thesaurus, or None.
    """
    words = _words(caption)
    if not words:
        return caption
    operation = _OPERATIONS[below(len(_OPERATIONS), rng)]
    times = max(1, int(SHARE_CHANGED * len(words)))
    return " ".join(_words(" ".join(operation(words, times, rng, synonyms))))


def _words(text: str) -> list[str]:
    """Its words of small Latin letters; apostrophes join, all else parts."""
    joined = text.replace("’", "").replace("'", "").lower()
    return _NOT_LETTERS.sub(" ", joined).split()


def _replace(words: list[str], times: int, rng: Random, synonyms: Synonyms | None) -> list[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS  # seconds, which others spare

    left = sorted({word for word in words if word not in ENGLISH_STOP_WORDS})
    while synonyms and left and times:
        word = left.pop(below(len(left), rng))
        if others := synonyms.of(word):
            other = others[below(len(others), rng)]
            words = [other if w == word else w for w in words]
            times -= 1
    return words


def _insert(words: list[str], times: int, rng: Random, synonyms: Synonyms | None) -> list[str]:
    words = list(words)
    for _ in range(times if synonyms else 0):
        for _ in range(_TRIES):
            if others := synonyms and synonyms.of(words[below(len(words), rng)]):
                words.insert(below(len(words), rng), others[0])
                break
    return words


def _swap(words: list[str], times: int, rng: Random, synonyms: Synonyms | None) -> list[str]:
    words = list(words)
    for _ in range(times):
        i = below(len(words), rng)
        for _ in range(_PLACES):
            if (j := below(len(words), rng)) != i:
                words[i], words[j] = words[j], words[i]
                break
    return words


def _delete(words: list[str], times: int, rng: Random, synonyms: Synonyms | None) -> list[str]:
    kept = [word for word in words if rng.random() >= _DELETED]
    return kept or [words[below(len(words), rng)]]


_OPERATIONS: tuple[Operation, ...] = (_replace, _insert, _swap, _delete)
