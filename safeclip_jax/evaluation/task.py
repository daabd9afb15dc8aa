"""What every evaluation has in common: its signature and the form of its figures.

A task is called as `task(embed_images, embed_texts, source, mesh)` and returns figures by
name. It holds no model: whatever makes vectors of images and texts can be evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jax.sharding import Mesh

from safeclip_jax.attacks.triggers import Trigger
from safeclip_jax.data.held_out import HeldOut
from safeclip_jax.data.sources.base import ImageSource
from safeclip_jax.errors import UserError
from safeclip_jax.evaluation.share import Share

Metrics = dict[str, "Share | float | np.ndarray | None"]


@dataclass(frozen=True)
class Embedded:
    """The vectors of a source's images that can be used.

    Attributes:
      vectors: unit length, float32 [n, D].
      usable: their indices in the source, ascending, int [n].
    """

    vectors: np.ndarray
    usable: np.ndarray


class EmbedImages(Protocol):
    """Embeds all images of a source, if asked with a trigger on each."""

    def __call__(self, images: ImageSource, trigger: Trigger | None = None) -> Embedded: ...


class EmbedTexts(Protocol):
    """Texts to unit vectors, float32 [n, D]."""

    def __call__(self, texts: Sequence[str]) -> np.ndarray: ...


class Task(Protocol):
    """One evaluation.

    Args of a call:
      embed_images, embed_texts: of the model.
      source: images with labels or captions; a part of training data to learn from.
      mesh: devices over which the work is split.

    Returns its figures by name: a `Share` with its interval, a number, an array such as the
    confusion matrix, or None where there is nothing to measure.
    """

    def __call__(
        self, embed_images: EmbedImages, embed_texts: EmbedTexts, source: HeldOut, mesh: Mesh
    ) -> Metrics: ...


def summary(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """As plain JSON: shares as numbers in [0, 1] with their Wilson intervals; no arrays."""
    values: dict[str, Any] = {}
    for name, found in metrics.items():
        if isinstance(found, Share):
            values[name], values[f"{name}_interval"] = found.value, found.interval
        elif not isinstance(found, np.ndarray):
            values[name] = found
    return values


def labels_of(source: HeldOut, what: str) -> np.ndarray:
    """Class indices of all images; `UserError` if the source has none."""
    if source.images.labels is None:
        raise UserError(f"{what} needs class labels, and {source.name} has none")
    return source.images.labels
