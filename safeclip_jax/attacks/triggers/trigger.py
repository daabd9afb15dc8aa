"""What a trigger is."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Trigger(Protocol):
    """uint8 [H, W, 3] and the image's index to a changed copy of the same shape."""

    def __call__(self, image: np.ndarray, index: int) -> np.ndarray: ...


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Rounded, and cut off at 0 and 255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
