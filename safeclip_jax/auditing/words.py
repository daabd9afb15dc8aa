"""Which words do the captions of suspicious pairs have in common? Those of a target."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import hypergeom

_WORD = re.compile(r"\w+")
_LEAST = 5  # suspicious pairs with the word


@dataclass(frozen=True)
class Word:
    """A word that suspicious pairs have more often than other captions.

    Attributes:
      text: in lower case.
      suspects, captions: so many of them name it.
      p_value: of so many by chance, hypergeometric, times the number of words (Bonferroni).
    """

    text: str
    suspects: int
    captions: int
    p_value: float


def of(caption: str) -> set[str]:
    """The different words of a caption, in lower case."""
    return set(_WORD.findall(caption.lower()))


def naming(captions: Sequence[str], word: str) -> np.ndarray:
    """Which captions have a word, bool [N]; an empty word is in none."""
    return np.fromiter((word in of(caption) for caption in captions), bool, len(captions))


def over_represented(
    captions: Sequence[str], suspects: np.ndarray, usable: np.ndarray
) -> list[Word]:
    """Words of suspicious pairs, the least probable first.

    Args:
      captions: of all pairs.
      suspects, usable: which pairs are suspicious, and which can be used, bool [N].
    """
    of_suspects = Counter(w for i in np.flatnonzero(suspects) for w in of(captions[int(i)]))
    tried = [w for w, count in of_suspects.items() if count >= _LEAST]
    wanted = set(tried)
    of_all = Counter(w for i in np.flatnonzero(usable) for w in of(captions[int(i)]) & wanted)
    total, drawn = int(usable.sum()), int(suspects.sum())
    found = []
    for word in tried:
        chance = float(hypergeom.sf(of_suspects[word] - 1, total, of_all[word], drawn))
        found.append(Word(word, of_suspects[word], of_all[word], min(1.0, len(tried) * chance)))
    return sorted(found, key=lambda word: (word.p_value, -word.suspects, word.text))
