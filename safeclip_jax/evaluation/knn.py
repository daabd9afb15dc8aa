"""k nearest neighbours on frozen image features."""

from __future__ import annotations

import numpy as np
from jax.sharding import Mesh

from safeclip_jax.data.held_out import HeldOut
from safeclip_jax.evaluation.learning import features
from safeclip_jax.evaluation.share import share
from safeclip_jax.evaluation.task import EmbedImages, EmbedTexts, Metrics
from safeclip_jax.neighbors.nearest import nearest

NEIGHBORS, TEMPERATURE = 20, 0.07


def evaluate(
    embed_images: EmbedImages, embed_texts: EmbedTexts, source: HeldOut, mesh: Mesh
) -> Metrics:
    """Accuracy of a weighted vote of the 20 nearest images, see `task.Task`.

    A neighbour of cosine similarity c votes for its class with weight exp(c / 0.07).

    Returns:
      `knn_accuracy`.

    References:
      Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination",
      2018, section 3.4.
    """
    learn, test = features(embed_images, source, "knn")
    if not len(test.labels):
        return {}
    similarity, places = nearest(test.vectors, learn.vectors, NEIGHBORS, mesh)
    votes = np.zeros((len(test.labels), len(source.class_names)))
    rows = np.arange(len(votes))[:, None]
    np.add.at(votes, (rows, learn.labels[places]), np.exp(similarity / TEMPERATURE))
    return {"knn_accuracy": share(votes.argmax(axis=1) == test.labels)}
