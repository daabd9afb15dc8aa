"""Pictures of pairs, read again where somebody has to look at them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from safeclip_jax.data.sources.base import ImageSource
from safeclip_jax.errors import BadRecord

_THREADS = 8
_AT_ONCE = 1024


def read(source: ImageSource, pairs: np.ndarray) -> Iterator[np.ndarray | None]:
    """The pictures of some pairs in turn, uint8 [S, S, 3]; None for one that cannot be used."""

    def one(index: int) -> np.ndarray | None:
        try:
            return source.image(index)
        except BadRecord:
            return None

    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(pairs), _AT_ONCE):
            yield from pool.map(one, pairs[start : start + _AT_ONCE].tolist())
