"""Local-density outlier scores of embeddings; high means that the surroundings are sparse.

Notation: a point's k nearest neighbours among reference points at distances d_1 ≤ … ≤ d_k.

References:
  Huang et al., "Detecting Backdoor Samples in Contrastive Language Image Pretraining",
  ICLR 2025, section 3, which takes a random batch of the data as reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jax.sharding import Mesh

from safeclip_jax.neighbors.nearest import nearest

_AT_ONCE = 4096
_CLOSE = 0.1
_LEAST = 1e-7  # distance, of single precision


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


def neighbors(points: np.ndarray, reference: np.ndarray, k: int, mesh: Mesh) -> Neighbors:
    """Finds nearest neighbours of all points by Euclidean distance, exactly.

    Args:
      points: unit vectors [N, D].
      reference: indices of the reference points among them, ascending, R > k. No point is its
        own neighbour.
      k: neighbours.
      mesh: of the devices that search.
    """
    among = References(np.asarray(points[reference], np.float32), reference, k, mesh)
    numbers = np.arange(len(points))
    found = [
        among.nearest(np.asarray(points[start : start + _AT_ONCE], np.float32),
                      numbers[start : start + _AT_ONCE])
        for start in range(0, len(points), _AT_ONCE)
    ]  # fmt: skip
    distances = np.concatenate([d for d, _ in found])
    indices = np.concatenate([i for _, i in found])
    return Neighbors(distances, indices, distances[reference])


@dataclass(frozen=True)
class References:
    """Reference points among which neighbours are sought.

    Attributes:
      points: unit vectors, float32 [R, D].
      numbers: which of all points they are, ascending, int [R].
      k: neighbours, fewer than R.
      mesh: of the devices that search.
    """

    points: np.ndarray
    numbers: np.ndarray
    k: int
    mesh: Mesh

    def neighbors(self, chunk: np.ndarray, numbers: np.ndarray) -> Neighbors:
        """Neighbours of points [n, D] that have these numbers."""
        return Neighbors(*self.nearest(chunk, numbers), self._own_distances)

    @cached_property
    def _own_distances(self) -> np.ndarray:
        parts = range(0, len(self.points), _AT_ONCE)
        return np.concatenate([
            self.nearest(self.points[p : p + _AT_ONCE], self.numbers[p : p + _AT_ONCE])[0]
            for p in parts
        ])  # fmt: skip

    def nearest(self, chunk: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances, ascending, and places among the references, [n, k] each."""
        cosines, near = nearest(chunk, self.points, self.k + 1, self.mesh)
        itself = self.numbers[near] == numbers[:, None]
        itself[~itself.any(axis=1), -1] = True  # of no reference point, or of one of many alike
        near = near[~itself].reshape(len(chunk), self.k)
        cosines = cosines[~itself].reshape(near.shape)
        distances = np.sqrt(np.maximum(2 - 2 * cosines, 0))
        # A cosine near 1 says little about a distance near 0.
        rows, columns = np.nonzero(distances < _CLOSE)
        apart = self.points[near[rows, columns]] - chunk[rows]
        distances[rows, columns] = np.linalg.norm(apart, axis=-1)
        order = np.argsort(distances, axis=1, kind="stable")
        distances = np.take_along_axis(distances, order, axis=1)
        return np.maximum(distances, _LEAST), np.take_along_axis(near, order, axis=1)


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
