"""A finished run as its folder keeps it, read without its data and its model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from safeclip_jax.attacks import manifest as manifests
from safeclip_jax.attacks.manifest import Manifest
from safeclip_jax.defenses import pool_files
from safeclip_jax.defenses.pools import Pools
from safeclip_jax.errors import UserError
from safeclip_jax.runs import run_folder, same_data
from safeclip_jax.runs.same_data import DigestsOf
from safeclip_jax.runs.settings import RunSettings
from safeclip_jax.training import metrics, results


@dataclass(frozen=True)
class Finished:
    """What is compared of a run.

    Attributes:
      folder: of the run.
      settings: it ran with.
      results: as in `results.json`.
      metrics: the lines of its log.
      data: digests of its sources; none where the run is older than they are.
      manifest: its poisons.
      pools: files of its pools by epoch, from 1.
    """

    folder: Path
    settings: RunSettings
    results: dict
    metrics: list[dict]
    data: DigestsOf
    manifest: Manifest
    pools: dict[int, Path]

    @property
    def pairs(self) -> int:
        """How many training pairs it has."""
        return int(self.results["pairs"])

    @property
    def poisons(self) -> np.ndarray:
        """Indices of its poisoned pairs."""
        return self.manifest.indices

    def pools_of(self, epoch: int) -> Pools:
        """The pools of an epoch, from 1; `UserError` if they cannot be read or are of others."""
        found = pool_files.load(self.pools[epoch])
        if len(found.scores) != self.pairs:
            raise UserError(
                f"{self.pools[epoch]} is of {len(found.scores)} pairs, and the run has {self.pairs}"
            )
        return found


def read(folder: Path) -> Finished:
    """Reads a finished run.

    Raises:
      UserError: if there is none, it is not finished, or a file of it cannot be read.
    """
    settings = run_folder.read(folder)
    if settings is None:
        raise UserError(f"{folder} is no run of ours: name a folder that safeclip-jax train wrote")
    if not (folder / "results.json").is_file():
        raise UserError(
            f"{folder} is not finished (it has no results.json): go on with its train command first"
        )
    found = results.read(folder / "results.json")
    if not isinstance(found.get("pairs"), int) or not isinstance(found.get("poisons"), int):
        raise UserError(f"{folder}/results.json does not say how many pairs and poisons there are")
    return Finished(
        folder,
        settings,
        found,
        metrics.read(folder / "metrics.jsonl"),
        same_data.read(folder),
        _manifest(folder, settings.attack.kind, found["pairs"]),
        {int(f.stem.split("_")[1]) + 1: f for f in sorted((folder / "pools").glob("epoch_*.npz"))},
    )


def _manifest(folder: Path, kind: str, pairs: int) -> Manifest:
    path = folder / "poison_manifest.json"
    if not path.exists():
        return Manifest(kind, "")
    found = manifests.load(path)
    if any(not 0 <= pair.index < pairs for pair in found.pairs):
        raise UserError(f"{path} names a pair that the run's {pairs} pairs have not")
    return found
