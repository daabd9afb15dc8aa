"""A count of a number of trials, with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import recall_score


@dataclass(frozen=True)
class Share:
    """A count of a number of trials.

    Attributes:
      count, of: how many of how many; `of` is at least 1.
    """

    count: int
    of: int

    @property
    def value(self) -> float:
        return self.count / self.of

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval (Wilson, 1927)."""
        found = binomtest(self.count, self.of).proportion_ci(method="wilson")
        return float(found.low), float(found.high)


def share(hits: np.ndarray) -> Share | None:
    """The share of true values, or None where there is no value."""
    return Share(int(np.sum(hits)), len(hits)) if len(hits) else None


def mean_per_class_recall(labels: np.ndarray, predictions: np.ndarray) -> float:
    """The mean of each class's accuracy, over the classes that occur among the labels.

    Args:
      labels, predictions: class numbers, int [n]; n is at least 1.
    """
    occurring = np.unique(labels)
    return float(recall_score(labels, predictions, labels=occurring, average="macro"))
