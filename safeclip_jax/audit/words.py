"""Which words do captions that do not fit have in common? Those of a target."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import hypergeom

_WORD = re.compile(r"\w+")
_LEAST = 5  # misfits with the word


@dataclass(frozen=True)
class Word:
    """A word that misfits have more often than other captions.

    Attributes:
      text: in lower case.
      misfits, captions: so many of them name it.
      p_value: of so many misfits by chance, hypergeometric, times the number of words (Bonferroni).
    """

    text: str
    misfits: int
    captions: int
    p_value: float


def of(caption: str) -> set[str]:
    """The different words of a caption, in lower case."""
    return set(_WORD.findall(caption.lower()))


def naming(captions: Sequence[str], word: str) -> np.ndarray:
    """Which captions have a word, bool [N]; an empty word is in none."""
    return np.fromiter((word in of(caption) for caption in captions), bool, len(captions))


def over_represented(
    captions: Sequence[str], misfits: np.ndarray, usable: np.ndarray
) -> list[Word]:
    """Words of the misfits, the least probable first.

    Args:
      captions: of all pairs.
      misfits, usable: which pairs' captions do not fit, and which can be used, bool [N].
    """
    of_misfits = Counter(w for i in np.flatnonzero(misfits) for w in of(captions[int(i)]))
    tried = [w for w, count in of_misfits.items() if count >= _LEAST]
    wanted = set(tried)
    of_all = Counter(w for i in np.flatnonzero(usable) for w in of(captions[int(i)]) & wanted)
    total, drawn = int(usable.sum()), int(misfits.sum())
    found = [
        Word(w, of_misfits[w], of_all[w],
             min(1.0, len(tried) * float(hypergeom.sf(of_misfits[w] - 1, total, of_all[w], drawn))))
        for w in tried
    ]  # fmt: skip
    return sorted(found, key=lambda word: (word.p_value, -word.misfits, word.text))
