"""Shares and means of evaluations."""

import numpy as np
from sklearn.metrics import balanced_accuracy_score

from safeclip_jax.evaluation.share import mean_per_class_recall


def test_the_mean_recall_is_the_balanced_accuracy():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 5, (2, 200))
    expected = balanced_accuracy_score(labels, predictions)
    assert mean_per_class_recall(labels, predictions) == expected


def test_a_class_that_only_the_model_names_warns_nobody(recwarn):
    labels, predictions = np.array([0, 0, 1, 3]), np.array([0, 2, 1, 2])
    assert mean_per_class_recall(labels, predictions) == (0.5 + 1 + 0) / 3
    assert not recwarn.list
