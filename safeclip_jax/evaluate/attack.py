"""How far an attack succeeded, and how well the scores tell the poisons."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score


def target_rate(labels: np.ndarray, predictions: np.ndarray, target: int) -> float:
    """Share of the images *not* of the target class that are predicted as the target.

    On triggered images this is the attack success rate (ASR); on the same images
    without the trigger it is the target's base rate.
    """
    others = labels != target
    return float(np.mean(predictions[others] == target))


def score_auroc(scores: np.ndarray, poisons: np.ndarray) -> float | None:
    """AUROC of a low score as a sign of poison; None without poisons.

    Args:
      scores: [N]; NaN counts as the lowest.
      poisons: indices of the poisoned pairs.
    """
    truth = np.zeros(len(scores), bool)
    truth[poisons] = True
    if not truth.any() or truth.all():
        return None
    return float(roc_auc_score(truth, -np.nan_to_num(scores, nan=np.nanmin(scores))))
