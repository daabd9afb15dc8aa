"""How well scores tell the poisons from the honest pairs."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from safeclip_jax.evaluation.share import Share, share

FALSE_POSITIVES = 0.01


def score_auroc(scores: np.ndarray, poisons: np.ndarray) -> float | None:
    """AUROC of a low score as a sign of poison; None without poisons.

    Args:
      scores: [N]; NaN counts as the lowest.
      poisons: indices of the poisoned pairs.
    """
    truth, suspicion = _truth_and_suspicion(scores, poisons)
    if not truth.any() or truth.all():
        return None
    return float(roc_auc_score(truth, suspicion))


def score_recall(scores: np.ndarray, poisons: np.ndarray) -> float | None:
    """Share of the poisons found when at most 1 % of the honest pairs are suspected.

    Args as in `score_auroc`; None without poisons.
    """
    truth, suspicion = _truth_and_suspicion(scores, poisons)
    if not truth.any() or truth.all():
        return None
    false, true, _ = roc_curve(truth, suspicion, drop_intermediate=False)
    return float(true[false <= FALSE_POSITIVES].max())


def fpr_at_full_recall(scores: np.ndarray, poisons: np.ndarray) -> Share | None:
    """Share of the honest pairs that must be thrown out until the last poison is, too.

    Pairs go from the lowest score up; honest ones that score as the last poison does go with it.

    Args as in `score_auroc`; None without poisons.
    """
    truth, suspicion = _truth_and_suspicion(scores, poisons)
    if not truth.any() or truth.all():
        return None
    return share(suspicion[~truth] >= suspicion[truth].min())


def _truth_and_suspicion(scores: np.ndarray, poisons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth = np.zeros(len(scores), bool)
    truth[poisons] = True
    return truth, -np.nan_to_num(scores, nan=np.nanmin(scores))
