"""Linear probe: logistic regression on frozen image features."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from jax.sharding import Mesh
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from safeclip_jax.data.held_out import HeldOut
from safeclip_jax.evaluation.learning import features
from safeclip_jax.evaluation.share import mean_per_class_recall, share
from safeclip_jax.evaluation.task import EmbedImages, EmbedTexts, Metrics

# Inverse regularisation 10^(i/8 - 6): 1e-6 to 1e6 in steps of an eighth of a decade.
_LAST, _FIRST_STEP = 96, 16
_ITERATIONS = 1000


def evaluate(
    embed_images: EmbedImages, embed_texts: EmbedTexts, source: HeldOut, mesh: Mesh
) -> Metrics:
    """Accuracy of an L2-regularised logistic regression, see `task.Task`.

    Its regularisation is the best of a search on validation images that are a part of what it
    may learn from; then it learns from all of these.

    Returns:
      `linear_probe_accuracy`, `linear_probe_mean_per_class_recall` and `linear_probe_C`, the
      inverse regularisation of scikit-learn's LogisticRegression.

    References:
      Radford et al., 2021, appendix A.3.
    """
    learn, test = features(embed_images, source, "linear_probe")
    if not len(test.labels):
        return {}

    def validated(strength: float) -> float:
        return _fit(learn.vectors[learn.first], learn.labels[learn.first], strength).score(
            learn.vectors[learn.second], learn.labels[learn.second]
        )

    best = inverse_regularization(search(validated))
    predictions = _fit(learn.vectors, learn.labels, best).predict(test.vectors)
    return {
        "linear_probe_accuracy": share(predictions == test.labels),
        "linear_probe_mean_per_class_recall": mean_per_class_recall(test.labels, predictions),
        "linear_probe_C": best,
    }


def inverse_regularization(number: int) -> float:
    """Entry `number` of the 97 that are searched."""
    return float(10.0 ** (number / 8 - 6))


def search(accuracy: Callable[[float], float]) -> int:
    """The number of the inverse regularisation with the best accuracy.

    Every two decades first, then both sides of the best at half the distance, down to an eighth
    of a decade. Of equally good ones the strongest regularisation wins.
    """
    found: dict[int, float] = {}
    step, wanted = _FIRST_STEP, range(0, _LAST + 1, _FIRST_STEP)
    while True:
        for number in wanted:
            if number not in found and 0 <= number <= _LAST:
                found[number] = accuracy(inverse_regularization(number))
        best = max(sorted(found), key=found.__getitem__)
        if step == 1:
            return best
        step //= 2
        wanted = range(best - step, best + step + 1, 2 * step)


def _fit(vectors: np.ndarray, labels: np.ndarray, strength: float) -> LogisticRegression:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=strength, max_iter=_ITERATIONS).fit(vectors, labels)
