"""What an audit sees in pictures: features of each, and which of them are nearly equal."""

from __future__ import annotations

import numpy as np

from safeclip_jax.auditing import pattern
from safeclip_jax.data.pictures import read
from safeclip_jax.data.sources.base import ImageSource


def features(source: ImageSource, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features of the pictures that can be used, [n, F], and which pairs they are, [n]."""
    found = [None if p is None else pattern.features(p) for p in read(source, pairs)]
    usable = np.array([f is not None for f in found], bool)
    kept = [f for f in found if f is not None]
    empty = np.zeros((0, pattern.FEATURES), np.float32)
    return (np.stack(kept) if kept else empty), pairs[usable]


def nearly_equal(source: ImageSource, edges: np.ndarray, most: float = 6.0) -> np.ndarray:
    """Those edges [m, 2] whose pictures differ by so many of 255 levels at most, on average."""
    pairs = np.unique(edges)
    small: dict[int, np.ndarray] = {}
    for pair, picture in zip(pairs.tolist(), read(source, pairs), strict=True):
        if picture is not None:
            small[pair] = pattern.features(picture)[: 3 * pattern.SIDE**2]
    near = [
        one in small and other in small and np.abs(small[one] - small[other]).mean() <= most
        for one, other in edges.tolist()
    ]
    return edges[np.array(near, bool)] if len(edges) else edges
