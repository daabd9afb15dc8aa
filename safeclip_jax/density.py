"""Local-density outlier scores of embeddings; high means that the surroundings are sparse.

Notation: a point's k nearest neighbours among reference points at distances d_1 ≤ … ≤ d_k.

References:
  Huang et al., "Detecting Backdoor Samples in Contrastive Language Image Pretraining",
  ICLR 2025, section 3, which takes a random batch of the data as reference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_AT_ONCE = 4096
_LEAST = 1e-12


@dataclass(frozen=True)
class Neighbors:
    """Nearest reference points of N points.

    Attributes:
      distances: [N, k], ascending.
      indices: of the reference points, [N, k].
      reference_distances: [R, k], the same of the reference points among each other.
    """

    distances: np.ndarray
    indices: np.ndarray
    reference_distances: np.ndarray


def neighbors(points: np.ndarray, reference: np.ndarray, k: int) -> Neighbors:
    """Finds nearest neighbours by Euclidean distance, exactly and in chunks.

    Args:
      points: [N, D].
      reference: indices of the reference points among them, R > k. No point is its own
        neighbour.
      k: neighbours.
    """
    found = [_nearest(points, start, reference, k) for start in range(0, len(points), _AT_ONCE)]
    distances = np.concatenate([d for d, _ in found])
    indices = np.concatenate([i for _, i in found])
    return Neighbors(distances, indices, distances[reference])


def _nearest(
    points: np.ndarray, start: int, reference: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    chunk, others = points[start : start + _AT_ONCE], points[reference]
    squares = np.sum(chunk**2, axis=1)[:, None] + np.sum(others**2, axis=1)
    squares = np.maximum(squares - 2 * chunk @ others.T, 0)
    itself = np.arange(start, start + len(chunk))[:, None] == reference
    squares[itself] = np.inf
    nearest = np.argpartition(squares, k - 1, axis=1)[:, :k]
    near = np.take_along_axis(squares, nearest, axis=1)
    order = np.argsort(near, axis=1, kind="stable")
    distances = np.sqrt(np.take_along_axis(near, order, axis=1))
    return np.maximum(distances, _LEAST), np.take_along_axis(nearest, order, axis=1)


def k_distance(near: Neighbors) -> np.ndarray:
    """d_k, [N] (Ramaswamy et al., 2000)."""
    return near.distances[:, -1]


def slof(near: Neighbors) -> np.ndarray:
    """Simplified LOF: mean over the neighbours o of d_k / d_k(o), [N] (Schubert et al., 2014)."""
    theirs = near.reference_distances[:, -1][near.indices]
    return np.mean(near.distances[:, -1:] / theirs, axis=1)


def lid(near: Neighbors) -> np.ndarray:
    """Local intrinsic dimension −1 / mean_i ln(d_i / d_k), [N] (Amsaleg et al., 2015)."""
    return _lid(near.distances)


def dao(near: Neighbors) -> np.ndarray:
    """Dimensionality-aware outlier score, [N] (Anderberg et al., 2024).

    Mean over the neighbours o of LID(o) · ln(d_k / d_k(o)).
    """
    theirs = near.reference_distances[:, -1][near.indices]
    dimensions = _lid(near.reference_distances)[near.indices]
    return np.mean(dimensions * np.log(near.distances[:, -1:] / theirs), axis=1)


def _lid(distances: np.ndarray) -> np.ndarray:
    mean = np.mean(np.log(distances / distances[:, -1:]), axis=1)
    return -1 / np.minimum(mean, -_LEAST)
