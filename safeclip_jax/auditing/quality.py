"""How well a detector finds poisons that are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from safeclip_jax.evaluation.detection import fpr_at_full_recall, score_auroc, score_recall

TOP = 0.01


@dataclass(frozen=True)
class Quality:
    """Of one detector.

    Attributes:
      auroc: of its score.
      recall: share of the poisons found at 1 % false positives.
      fpr: share of the honest pairs suspected until every poison is.
      in_top: share of the poisons among the top 1 % of all pairs.
    """

    auroc: float
    recall: float
    fpr: float
    in_top: float


def of(suspicion: np.ndarray, poisons: np.ndarray) -> Quality:
    """Compares a score, high for suspicious pairs and NaN for none, with the truth.

    Args:
      suspicion: [N].
      poisons: indices, at least one and not all.
    """
    values = np.nan_to_num(suspicion, nan=np.nanmin(suspicion))
    top = np.argsort(-values, kind="stable")[: round(TOP * len(values))]
    auroc, recall = score_auroc(-values, poisons), score_recall(-values, poisons)
    fpr = fpr_at_full_recall(-values, poisons)
    assert auroc is not None and recall is not None and fpr is not None
    return Quality(auroc, recall, fpr.value, float(np.isin(poisons, top).mean()))
