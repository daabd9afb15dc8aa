"""Zero-shot classification with prompt ensembles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from safeclip_jax.data.held_out import HeldOut
from safeclip_jax.distributed import sharding
from safeclip_jax.evaluation.share import mean_per_class_recall, share
from safeclip_jax.evaluation.task import EmbedImages, EmbedTexts, Metrics, labels_of

_TEXTS_AT_ONCE = 4096
_IMAGES_A_DEVICE = 512
_TOP = 5
_TENTH = 10


def evaluate(
    embed_images: EmbedImages, embed_texts: EmbedTexts, source: HeldOut, mesh: Mesh
) -> Metrics:
    """Accuracy of the most similar class, see `task.Task`.

    Returns:
      `zero_shot_accuracy`; with more than five classes `zero_shot_accuracy_top5`, whether the
      class is among the five most similar; `mean_per_class_recall`, the mean over the classes
      that occur of each one's accuracy; `confusion`, counts [C, C]; where training captions are
      known `rare_class_accuracy`, the accuracy on the images of `rarest` classes.
    """
    found = classified(embed_images, embed_texts, source, mesh, "zero_shot")
    if found is None:
        return {}
    count = len(found.classes)
    others: Metrics = {"zero_shot_accuracy_top5": share(found.ranks < _TOP)} if count > _TOP else {}
    if source.mentioned is not None:
        rare = np.isin(found.labels, rarest(source.mentioned()))
        others["rare_class_accuracy"] = share(found.ranks[rare] == 0)
    return {
        "zero_shot_accuracy": share(found.ranks == 0),
        **others,
        "mean_per_class_recall": mean_per_class_recall(found.labels, found.predictions),
        "confusion": confusion(found.labels, found.predictions, count),
    }


def rarest(mentioned: np.ndarray) -> np.ndarray:
    """The tenth of the classes that the fewest training captions name, at least one class.

    Of classes that as many name, the first.

    Args:
      mentioned: captions that name each class, int [C].

    Returns:
      Class indices, int [max(1, C // 10)].
    """
    return np.argsort(mentioned, kind="stable")[: max(1, len(mentioned) // _TENTH)]


@dataclass(frozen=True)
class Classified:
    """The usable images of a source, each with the most similar class.

    Attributes:
      usable: their indices in the source, ascending, int [n].
      labels: class indices [n].
      classes: unit vectors [C, D].
      predictions, ranks: see `classify`.
    """

    usable: np.ndarray
    labels: np.ndarray
    classes: np.ndarray
    predictions: np.ndarray
    ranks: np.ndarray


def classified(
    embed_images: EmbedImages, embed_texts: EmbedTexts, source: HeldOut, mesh: Mesh, task: str
) -> Classified | None:
    """Classifies a source's images; None if none can be used.

    Raises:
      UserError: if the source has no labels; `task` is who needs them.
    """
    labels = labels_of(source, task)
    images = embed_images(source.images)
    labels = labels[images.usable]
    if not len(labels):
        return None
    classes = class_vectors(embed_texts, source.prompts)
    return Classified(
        images.usable, labels, classes, *classify(images.vectors, labels, classes, mesh)
    )


def class_vectors(embed_texts: EmbedTexts, prompts: Sequence[Sequence[str]]) -> np.ndarray:
    """One unit vector a class: the normalised mean of its prompts' embeddings, [C, D].

    However many prompts there are, only some thousand vectors are in memory at a time.

    Args:
      embed_texts: texts to unit vectors.
      prompts: for each of the C classes, its texts.

    References:
      Radford et al., 2021, section 3.1.4.
    """
    texts = [(number, text) for number, group in enumerate(prompts) for text in group]
    sums = None
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        numbers, some = zip(*texts[start : start + _TEXTS_AT_ONCE], strict=True)
        vectors = embed_texts(some)
        if sums is None:
            sums = np.zeros((len(prompts), vectors.shape[1]), vectors.dtype)
        np.add.at(sums, np.array(numbers), vectors)
    assert sums is not None
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def classify(
    images: np.ndarray, labels: np.ndarray, classes: np.ndarray, mesh: Mesh
) -> tuple[np.ndarray, np.ndarray]:
    """The most similar class of each image, and how many are more similar than its own.

    Of equally similar classes the first comes first. A vector that is not a number has all
    classes before its own.

    Args:
      images: unit vectors [N, D].
      labels: class indices [N].
      classes: unit vectors [C, D].
      mesh: over whose devices the images are split.

    Returns:
      Class indices and ranks from 0, int32 [N] each.
    """
    everywhere = jax.device_put(classes.astype(np.float32), sharding.replicated(mesh))
    rows = {"images": images.astype(np.float32), "labels": labels.astype(np.int32)}
    found = [
        _classify(block["images"], block["labels"], everywhere)
        for block in sharding.row_batches(rows, _IMAGES_A_DEVICE * mesh.size, mesh)
    ]
    predictions, ranks = (
        np.concatenate([sharding.to_host(part) for part in parts])[: len(images)]
        for parts in zip(*found, strict=True)
    )
    return predictions, ranks


@jax.jit
def _classify(
    images: jax.Array, labels: jax.Array, classes: jax.Array
) -> tuple[jax.Array, jax.Array]:
    similarity = jnp.matmul(images, classes.T, precision=jax.lax.Precision.HIGHEST)
    own = jnp.take_along_axis(similarity, labels[:, None], axis=1)
    earlier = jnp.arange(len(classes)) < labels[:, None]
    ahead = (similarity > own) | ((similarity == own) & earlier) | jnp.isnan(own)
    return jnp.argmax(similarity, axis=1).astype(jnp.int32), ahead.sum(axis=1, dtype=jnp.int32)


def confusion(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Counts [C, C]: row, the true class; column, the predicted one."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, predictions), 1)
    return counts
