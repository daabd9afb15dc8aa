"""What a classifier on frozen features learns from, and what it is tested on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import train_test_split

from safeclip_jax.data.held_out import HeldOut
from safeclip_jax.data.sources.base import ImageSource
from safeclip_jax.errors import UserError
from safeclip_jax.evaluation.task import EmbedImages, labels_of

_VALIDATION = 0.2


@dataclass(frozen=True)
class Labelled:
    """Vectors float32 [n, D] with their class indices [n]."""

    vectors: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Learned(Labelled):
    """What may be learned from, and two parts of it for the choice of parameters.

    Attributes:
      first, second: indices to learn from and to validate on.
    """

    first: np.ndarray
    second: np.ndarray


def features(embed_images: EmbedImages, source: HeldOut, what: str) -> tuple[Learned, Labelled]:
    """Features to learn from and to test on.

    The validation part is the source's own, or a fifth of each class.

    Raises:
      UserError: if there is nothing to learn from, or its classes are others.
    """
    labels = labels_of(source, what)
    if source.to_learn is None:
        raise UserError(
            f"{what} needs images to learn from, and {source.name} has no training split: name "
            "labelled ones in evaluate.learn"
        )
    test = embed_images(source.images)
    learn, validation = source.to_learn()
    vectors, classes = _embedded(embed_images, learn, source)
    if validation is None:
        first, second = _split(classes)
    else:
        more, their_classes = _embedded(embed_images, validation, source)
        first, second = np.split(np.arange(len(classes) + len(their_classes)), [len(classes)])
        vectors = np.concatenate([vectors, more])
        classes = np.concatenate([classes, their_classes])
    return Learned(vectors, classes, first, second), Labelled(test.vectors, labels[test.usable])


def _embedded(
    embed_images: EmbedImages, images: ImageSource, source: HeldOut
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and the numbers that their classes have in `source`."""
    if images.labels is None:
        raise UserError(f"the images that {source.name} is to be learned from have no labels")
    unknown = sorted(set(images.class_names) - set(source.class_names))
    if unknown:
        raise UserError(f"class {unknown[0]!r} is learned, but {source.name} does not have it")
    number = np.array([source.class_names.index(name) for name in images.class_names])
    found = embed_images(images)
    return found.vectors, number[images.labels[found.usable]]


def _split(classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows, counts = np.arange(len(classes)), np.bincount(classes)
    if len(counts[counts > 0]) < 2:
        raise UserError("a classifier needs images of at least two classes to learn from")
    share = max(_VALIDATION, len(counts[counts > 0]) / len(classes))
    each = classes if counts[counts > 0].min() >= 2 else None  # as many of each class
    first, second = train_test_split(rows, test_size=share, random_state=0, stratify=each)
    return np.sort(first), np.sort(second)
