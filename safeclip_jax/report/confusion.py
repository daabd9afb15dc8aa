"""A confusion matrix as a page shows it: whole, or of many classes the most frequent errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST_CLASSES = 20  # of a matrix that can be read
_ERRORS = 30


@dataclass(frozen=True)
class Confusion:
    """What a page shows.

    Attributes:
      names: of the classes; none where there are too many for a matrix.
      rows: of each true class its name and the percentage that is taken for each class.
      errors: true class, predicted class and percentage of the true class, the most frequent
        first, where there is no matrix.
    """

    names: Sequence[str] = ()
    rows: Sequence[tuple[str, list[float]]] = ()
    errors: Sequence[tuple[str, str, float]] = ()


def of(counts: np.ndarray, names: Sequence[str]) -> Confusion:
    """Makes it of counts [true class, predicted class] and the classes' names."""
    percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    if len(names) <= MOST_CLASSES:
        rows = [(name, row.tolist()) for name, row in zip(names, percent, strict=True)]
        return Confusion(names, rows)
    np.fill_diagonal(percent, 0)
    worst = np.argsort(-percent, axis=None, kind="stable")[:_ERRORS]
    places = zip(*np.unravel_index(worst, percent.shape), strict=True)
    errors = [(names[t], names[p], float(percent[t, p])) for t, p in places if percent[t, p] > 0]
    return Confusion(errors=errors)
