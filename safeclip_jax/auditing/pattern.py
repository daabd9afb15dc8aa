"""What do the pictures of suspects have in common? A trigger, if it has one place or form.

A linear classifier is fitted to tell suspects from honest pictures of the same content, their
nearest neighbours: so what they show cancels, and what was put on them remains. It is fitted to
each half of them and asked about the other half, so what it finds is no artefact of the fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.stats import mannwhitneyu
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

SIDE = 32  # of the pictures that are compared
_POOLED = 16  # cells a side in which sharpness is compared
FEATURES = 3 * SIDE**2 + _POOLED**2
_TELLING = 0.7
_LEAST = 5  # pictures of a kind to fit to
_STRENGTHS = np.logspace(1, 6, 11)


@dataclass(frozen=True)
class Pattern:
    """What suspects' pictures share.

    Attributes:
      auroc: of telling suspects from their like, in halves that were not fitted.
      p_value: of the hypothesis that there is nothing to tell (Mann & Whitney, 1947).
      difference: mean of the suspects minus that of their like, float32 [32, 32, 3], 0 to 255.
      models: one fitted to each half.
    """

    auroc: float
    p_value: float
    difference: np.ndarray
    models: tuple[Pipeline, Pipeline]

    def counts(self, alpha: float) -> bool:
        """Whether chance makes none like it, and it tells most suspects from their like.

        A trigger does; pictures that a model does not understand differ a little, too.
        """
        return self.p_value < alpha and self.auroc > _TELLING

    def scores(self, inputs: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """How much of it pictures with such features [n, F] have, by the half they are not in."""
        return _scores(self.models, inputs, numbers)


def features(image: np.ndarray) -> np.ndarray:
    """Pixels at `SIDE`, and how sharp the picture is where: float32 [3·32² + 16²]."""
    picture = Image.fromarray(image)
    small = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32)
    grey = np.asarray(picture.convert("L"), np.float32)
    edges = np.abs(4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2]
                   - grey[1:-1, 2:])  # fmt: skip
    sharpness = Image.fromarray(edges).resize((_POOLED, _POOLED), Image.Resampling.BOX)
    return np.concatenate([small.ravel(), np.sqrt(np.asarray(sharpness)).ravel()])


def find(
    suspects: tuple[np.ndarray, np.ndarray], like: tuple[np.ndarray, np.ndarray]
) -> Pattern | None:
    """Looks for what suspects share and their like do not.

    Args:
      suspects, like: features [n, F] and the pairs' numbers [n], of which evenness is the half.

    Returns:
      None if a half has too few of either.
    """
    of_half = [np.count_nonzero(n % 2 == half) for _, n in (suspects, like) for half in (0, 1)]
    if min(of_half) < _LEAST:
        return None
    inputs = np.concatenate([suspects[0], like[0]])
    numbers = np.concatenate([suspects[1], like[1]])
    labels = np.arange(len(inputs)) < len(suspects[0])
    even = numbers % 2 == 0
    models = _fit(inputs[even], labels[even]), _fit(inputs[~even], labels[~even])
    scores = _scores(models, inputs, numbers).astype(np.float64)  # p-values are tiny
    test = mannwhitneyu(scores[labels], scores[~labels], alternative="greater")
    difference = (suspects[0].mean(axis=0) - like[0].mean(axis=0))[: 3 * SIDE**2]
    return Pattern(
        float(test.statistic / (labels.sum() * (~labels).sum())),
        float(test.pvalue),
        difference.reshape(SIDE, SIDE, 3),
        models,
    )


def _scores(
    models: tuple[Pipeline, Pipeline], inputs: np.ndarray, numbers: np.ndarray
) -> np.ndarray:
    of_even, of_odd = (model.decision_function(inputs) for model in models)
    return np.where(numbers % 2 == 0, of_odd, of_even)


def _fit(inputs: np.ndarray, labels: np.ndarray) -> Pipeline:
    model = make_pipeline(StandardScaler(), RidgeClassifierCV(_STRENGTHS, class_weight="balanced"))
    return model.fit(inputs, labels)
