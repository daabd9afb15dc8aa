"""Pairs that nearly share an image or a caption: the trace of repeated poisons.

Candidates share a bucket of random hyperplanes (Charikar, 2002), round the mean vector, in one of
several tables; they are then compared exactly. Two vectors d apart fall on different sides of a
plane with probability about d / π for small d, so few of the alike are missed, and the work grows
with the number of pairs and not with its square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import binom

NEAR = 0.05  # largest distance of vectors that are nearly the same
TABLES, PLANES = 8, 24
_WINDOW = 64  # members of a bucket with which each one is compared
_AT_ONCE = 16_384


@dataclass(frozen=True)
class Group:
    """Pairs that nearly share something.

    Attributes:
      kind: `picture` or `caption`.
      members: the pairs, ascending.
      misfits: how many of their captions do not fit.
      p_value: of so many, see `misfitting`.
    """

    kind: str
    members: np.ndarray
    misfits: int
    p_value: float


def near(vectors: np.ndarray, usable: np.ndarray, seed: int) -> np.ndarray:
    """Pairs of nearly the same vector, int64 [m, 2], each once.

    Args:
      vectors: unit vectors [N, D], in memory or mapped from a file.
      usable: which to look at, bool [N].
      seed: of the hyperplanes.
    """
    codes = _codes(vectors, seed)
    rows = np.flatnonzero(usable)
    edges = np.zeros((0, 2), np.int64)
    for table in range(TABLES):
        order = rows[np.argsort(codes[rows, table], kind="stable")]
        parts = [edges]
        for step in range(1, _WINDOW + 1):
            one, other = order[:-step], order[step:]
            same = codes[one, table] == codes[other, table]
            if not same.any():
                break
            parts.append(_close(vectors, np.sort(np.stack([one[same], other[same]], 1), axis=1)))
        edges = np.unique(np.concatenate(parts), axis=0)
    return edges


def clusters(edges: np.ndarray, total: int) -> list[np.ndarray]:
    """Groups of pairs that edges connect, each ascending, largest first."""
    graph = coo_array((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), (total, total))
    _, labels = connected_components(graph, directed=False)
    members = np.unique(edges)
    order = members[np.argsort(labels[members], kind="stable")]
    cuts = np.flatnonzero(np.diff(labels[order])) + 1
    return sorted(np.split(order, cuts) if len(order) else [], key=lambda g: (-len(g), g[0]))


def misfitting(
    kind: str, clusters: Sequence[np.ndarray], misfits: np.ndarray, share: float, alpha: float
) -> list[Group]:
    """Groups in which more captions do not fit than if groups were like all pairs.

    Args:
      kind: what their members have in common.
      clusters: groups of pairs.
      misfits: which pairs' captions do not fit, bool [N].
      share: of the pairs whose captions do not fit.
      alpha: largest p-value, binomial and corrected for the number of groups (Bonferroni).
    """
    counts = [int(misfits[members].sum()) for members in clusters]
    p_values = np.minimum(
        binom.sf(np.array(counts) - 1, [len(m) for m in clusters], share) * len(clusters), 1.0
    )
    found = [
        Group(kind, members, count, float(p))
        for members, count, p in zip(clusters, counts, p_values, strict=True)
        if p < alpha and count > 1
    ]
    return sorted(found, key=lambda group: group.p_value)


def _codes(vectors: np.ndarray, seed: int) -> np.ndarray:
    """The side of every hyperplane, as a number for each table, int64 [N, TABLES]."""
    rng = np.random.default_rng([seed, 0x15A])
    planes = rng.standard_normal((vectors.shape[1], TABLES * PLANES)).astype(np.float32)
    sample = np.sort(rng.choice(len(vectors), min(_AT_ONCE, len(vectors)), replace=False))
    center = np.array(vectors[sample]).mean(axis=0)
    powers = 1 << np.arange(PLANES, dtype=np.int64)
    parts = []
    for start in range(0, len(vectors), _AT_ONCE):
        sides = (np.asarray(vectors[start : start + _AT_ONCE]) - center) @ planes > 0
        parts.append(sides.reshape(-1, TABLES, PLANES) @ powers)
    return np.concatenate(parts)


def _close(vectors: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Those edges whose ends are nearly the same."""
    parts = [
        np.linalg.norm(
            np.asarray(vectors[edges[start : start + _AT_ONCE, 0]])
            - np.asarray(vectors[edges[start : start + _AT_ONCE, 1]]),
            axis=1,
        )
        <= NEAR
        for start in range(0, len(edges), _AT_ONCE)
    ]
    return edges[np.concatenate(parts)] if parts else edges
