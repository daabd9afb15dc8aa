"""Files of NumPy arrays that anybody may have written."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np


def read(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a `.npz` file, in no more memory than the file has bytes.

    Raises:
      Exception: of many kinds, if it is none; a `ValueError` if it is compressed, which none of
        ours is.
    """
    with zipfile.ZipFile(path) as file:
        if any(part.compress_size != part.file_size for part in file.infolist()):
            raise ValueError("it is compressed, and may be a bomb")
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)
