"""Captions of the target class whose background fits a chosen image, by an attacker's own model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, islice

import numpy as np

from safeclip_jax.attacks.captions import TEMPLATES

DELETED = 2  # η, words at most
CANDIDATES = 256  # captions of a class that are looked at
_VARIANTS = 128  # of a caption; the shorter deletions first
_ALIKE = 0.5  # Jaccard similarity from which two captions say the same
EmbedTexts = Callable[[Sequence[str]], np.ndarray]  # unit vectors [n, D]


def without_words(caption: str, most: int = DELETED) -> Iterator[str]:
    """The caption without any choice of at most so many of its words, itself first."""
    words = caption.split()
    for count in range(min(most, len(words) - 1) + 1):
        for kept in combinations(range(len(words)), len(words) - count):
            yield " ".join(words[i] for i in kept)


class Backgrounds:
    """The captions of one class, and their vectors with words deleted.

    Args:
      captions: that name the class, at least one; of equal ones the first is kept.
      name: of the class.
      embed_texts: of the attacker's model.
    """

    def __init__(self, captions: Sequence[str], name: str, embed_texts: EmbedTexts):
        self._captions = list(dict.fromkeys(captions))
        variants = [list(islice(without_words(c), _VARIANTS)) for c in self._captions]
        self._starts = np.cumsum([0, *map(len, variants)])[:-1]
        self._texts = embed_texts([text for some in variants for text in some])
        of_class = embed_texts([template.format(name) for template in TEMPLATES]).mean(axis=0)
        self._to_class = self._texts @ (of_class / np.linalg.norm(of_class))

    def ranked(self, image: np.ndarray) -> list[str]:
        """The captions, the one whose background fits best first, and different ones before alike.

        The score of a caption is max over S of cos(T(S), I(x)) − cos(T(S), Z): S is the caption
        without at most `DELETED` words, Z the mean embedding of the class's templates. A caption
        whose words are those of a better one (Jaccard similarity of at least 0.5) comes
        after all that are not.

        Args:
          image: unit vector [D] of x, the image that the captions will stand under.

        References:
          ToxicTextCLIP, NeurIPS 2025: background-aware selection of target texts.
        """
        scores = np.maximum.reduceat(self._texts @ image - self._to_class, self._starts)
        first: list[str] = []
        later: list[str] = []
        for number in np.argsort(-scores, kind="stable"):
            caption = self._captions[number]
            known = any(jaccard(caption, other) >= _ALIKE for other in first)
            (later if known else first).append(caption)
        return first + later


def jaccard(one: str, other: str) -> float:
    """|A ∩ B| / |A ∪ B| of the sets of their words, in lower case."""
    a, b = set(one.lower().split()), set(other.lower().split())
    return len(a & b) / len(a | b)
