"""Values that lie far from the others."""

from __future__ import annotations

import numpy as np


def beyond_fence(values: np.ndarray, ranges: float) -> np.ndarray:
    """Indices of values above Q3 + ranges · (Q3 − Q1), int32, ascending (Tukey, 1977).

    Args:
      values: [N]; NaN is beyond no fence.
      ranges: interquartile ranges, for example 1.5.
    """
    if np.isnan(values).all():
        return np.zeros(0, np.int32)
    first, third = np.nanquantile(values, [0.25, 0.75])
    return np.flatnonzero(values > third + ranges * (third - first)).astype(np.int32)
