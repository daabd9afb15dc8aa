"""What a run's pools say of every pair: its scores over the epochs, and when it was let in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from safeclip_jax.defenses import pool_files, ranking
from safeclip_jax.errors import UserError


@dataclass(frozen=True)
class Past:
    """Of n pairs, at each of the E epochs.

    Attributes:
      p_safe: P(safe), float32 [E, n].
      safe: whether they were in the safe pool, bool [E, n].
    """

    p_safe: np.ndarray
    safe: np.ndarray


@dataclass(frozen=True)
class History:
    """Of the N pairs of a run, over the E epochs with pools.

    Attributes:
      epochs: their numbers from 1, int [E].
      files: the pools of each.
      shares: how much of the pairs was safe in each, float64 [E].
      suspicion: mean over the epochs of the rank of a pair's score, 0 best to 1, float32 [N].
      last: that rank in the last epoch, float32 [N].
      entered: the first epoch in whose safe pool it was, from 1; 0 if in none, int16 [N].
      stayed: in how many epochs' safe pools it was, int16 [N].
    """

    epochs: np.ndarray
    files: tuple[Path, ...]
    shares: np.ndarray
    suspicion: np.ndarray
    last: np.ndarray
    entered: np.ndarray
    stayed: np.ndarray

    def of(self, pairs: np.ndarray) -> Past:
        """Some pairs' way through the epochs."""
        found = [
            (one.p_safe_of(pairs), one.is_safe[pairs]) for one in map(pool_files.load, self.files)
        ]
        return Past(*(np.stack(rows) for rows in zip(*found, strict=True)))


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
    shares = np.zeros(len(files))
    suspicion, last = np.zeros(pairs, np.float32), np.zeros(pairs, np.float32)
    entered, stayed = np.zeros(pairs, np.int16), np.zeros(pairs, np.int16)
    for number, (epoch, file) in enumerate(zip(epochs, files, strict=True)):
        found = pool_files.load(file)
        if len(found.scores) != pairs:
            raise UserError(f"{file} is of {len(found.scores)} pairs, and the data has {pairs}")
        ranking.ranks(np.nan_to_num(found.scores, copy=False, nan=-np.inf), out=last)
        last /= -pairs
        last += 1
        suspicion += last
        shares[number] = found.is_safe.mean()
        entered[found.is_safe & (entered == 0)] = epoch
        stayed += found.is_safe
    suspicion /= len(files)
    return History(epochs, files, shares, suspicion, last, entered, stayed)
