"""The pools of a run's epochs: made once, kept in files, read again after a stop."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from safeclip_jax.defenses import pool_files
from safeclip_jax.defenses.defense import Defense
from safeclip_jax.defenses.pools import Pools
from safeclip_jax.distributed import sharding
from safeclip_jax.errors import UserError
from safeclip_jax.runs import run_folder
from safeclip_jax.training.checkpoint import Position


class EpochPools:
    """Pools of a run.

    Args:
      folder: of the run.
      defense: makes them.

    Attributes:
      latest: the pools in use, None before the first.
    """

    def __init__(self, folder: Path, defense: Defense):
        self._folder, self._defense = folder, defense
        self.latest: Pools | None = None
        self._first_share: float | None = None

    @property
    def digest(self) -> str:
        """Of the pools in use; empty before the first."""
        return "" if self.latest is None else self.latest.digest()

    def first_share(self) -> float:
        """Share of all pairs in the first safe pool, which is read once; there must be one."""
        if self._first_share is None:
            paths = (pool_files.path(self._folder, epoch) for epoch in itertools.count())
            first = next(path for path in paths if run_folder.exists(path))
            self._first_share = pool_files.load(first).share
        return self._first_share

    def read_before(self, position: Position) -> None:
        """Takes up the last ones that were made before the position's epoch.

        Raises:
          UserError: if they are not those that the checkpoint was written with.
        """
        path = self._folder / "pools"
        for earlier in reversed(range(position.epoch)):
            if run_folder.exists(pool_files.path(self._folder, earlier)):
                path = pool_files.path(self._folder, earlier)
                self.latest = pool_files.load(path)
                break
        if position.begins_epoch and self.digest != position.pools:
            raise UserError(
                f"{path} is not what the newest checkpoint was written with, and the next pools "
                "depend on it: restore the file, or train anew in another --workdir"
            )

    def made_before(self, position: Position) -> bool:
        """Takes up the pools of the position's epoch from their file, if it is there.

        Raises:
          UserError: if the position is inside the epoch, and the file is not what it began with.
        """
        path = pool_files.path(self._folder, position.epoch)
        found = pool_files.load(path) if run_folder.exists(path) else None
        if not position.begins_epoch:
            digest = found.digest() if found is not None else "nothing"
            if digest != position.pools:
                raise UserError(
                    f"{path} is not what this epoch began with, and pools are never computed "
                    "twice: restore the file, or move the newest checkpoint away to begin the "
                    "epoch anew"
                )
        if found is not None:
            self.latest = found
        return found is not None

    def make(
        self,
        epoch: int,
        scores: Callable[[], np.ndarray],
        distances: Callable[[], np.ndarray],
    ) -> Pools:
        """Makes and keeps the pools of an epoch.

        Args:
          epoch: from 0.
          scores: of all pairs, see `scoring.scores`.
          distances: of all images, see `scoring.distances`; asked for only if needed.

        Raises:
          UserError: if the hosts do not agree about them.
        """
        apart = distances() if self._defense.before(epoch).distances else None
        made = self._defense.pools(epoch, scores(), self.latest, apart)
        sharding.check_same_everywhere(f"pools of epoch {epoch}", made.digest())
        if jax.process_index() == 0:
            pool_files.save(made, pool_files.path(self._folder, epoch))
        self.latest = made
        return made

    def forget_after(self, position: Position, epochs: int) -> None:
        """Deletes the pools that were made after a position."""
        if jax.process_index() == 0:
            first = position.epoch + (not position.begins_epoch)
            for epoch in range(first, epochs):
                pool_files.path(self._folder, epoch).unlink(missing_ok=True)
        sharding.from_lead(0)
