"""What a run's pools say of every pair: its scores over the epochs, and when it was let in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from safeclip_jax import pools
from safeclip_jax.errors import UserError


@dataclass(frozen=True)
class History:
    """Of the N pairs of a run, over the E epochs with pools.

    Attributes:
      epochs: their numbers from 1, int [E].
      files: the pools of each.
      suspicion: mean over the epochs of the rank of a pair's score, 0 best to 1, float32 [N].
      entered: the first epoch in whose safe pool it was, from 1; 0 if in none, int16 [N].
      stayed: in how many epochs' safe pools it was, int16 [N].
    """

    epochs: np.ndarray
    files: tuple[Path, ...]
    suspicion: np.ndarray
    entered: np.ndarray
    stayed: np.ndarray

    def of(self, pairs: np.ndarray) -> np.ndarray:
        """P(safe) of some pairs at every epoch, float32 [E, n]."""
        return np.stack([pools.load(file).p_safe[pairs] for file in self.files])


def read(folder: Path, pairs: int) -> History | None:
    """Reads the pools of a run; None if it has none.

    Args:
      folder: of the run.
      pairs: how many there must be.

    Raises:
      UserError: if a file cannot be read, or is of other data.
    """
    files = tuple(sorted((folder / "pools").glob("epoch_*.npz")))
    if not files:
        return None
    epochs = np.array([int(file.stem.split("_")[1]) + 1 for file in files])
    suspicion = np.zeros(pairs, np.float32)
    entered, stayed = np.zeros(pairs, np.int16), np.zeros(pairs, np.int16)
    for epoch, file in zip(epochs, files, strict=True):
        found = pools.load(file)
        if len(found.scores) != pairs:
            raise UserError(f"{file} is of {len(found.scores)} pairs, and the data has {pairs}")
        scores = np.nan_to_num(found.scores, nan=-np.inf)
        suspicion += 1 - rankdata(scores).astype(np.float32) / pairs
        safe = np.zeros(pairs, bool)
        safe[found.safe] = True
        entered[safe & (entered == 0)] = epoch
        stayed += safe
    return History(epochs, files, suspicion / len(files), entered, stayed)
