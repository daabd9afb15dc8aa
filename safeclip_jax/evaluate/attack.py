"""How far an attack succeeded, and how well the scores tell the poisons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score, roc_curve

FALSE_POSITIVES = 0.01
JUDGEABLE = 0.9  # success against plain CLIP from which an attack can test a defence


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


def target_rate(labels: np.ndarray, predictions: np.ndarray, target: int) -> Share | None:
    """Share of the images *not* of the target class that are predicted as the target.

    On triggered images this is the attack success rate (ASR); on the same images
    without the trigger it is the target's base rate.
    """
    return share(predictions[labels != target] == target)


def poison_success(predictions: np.ndarray, targets: np.ndarray) -> Share | None:
    """Poison success rate (PSR): chosen images that are predicted as their adversarial class.

    Args:
      predictions: of the chosen images.
      targets: adversarial class of each.

    References:
      Carlini & Terzis, "Poisoning and Backdooring Contrastive Learning", 2022, section 4.
    """
    return share(predictions == targets)


def poison_base_rate(
    labels: np.ndarray, predictions: np.ndarray, chosen: np.ndarray, targets: np.ndarray
) -> float | None:
    """What PSR would be by chance: how often *other* images of the chosen ones' classes err so.

    The mean, over chosen images, of the share of the other images of its class that are
    predicted as its adversarial class.

    Args:
      labels, predictions: of all held-out images.
      chosen: indices of the chosen ones among them.
      targets: adversarial class of each.
    """
    others = np.ones(len(labels), bool)
    others[chosen] = False
    rates = []
    for index, target in zip(chosen, targets, strict=True):
        peers = others & (labels == labels[index])
        if peers.any():
            rates.append(np.mean(predictions[peers] == target))
    return float(np.mean(rates)) if rates else None


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


def _truth_and_suspicion(scores: np.ndarray, poisons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth = np.zeros(len(scores), bool)
    truth[poisons] = True
    return truth, -np.nan_to_num(scores, nan=np.nanmin(scores))
