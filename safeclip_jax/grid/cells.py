"""A grid's file to its cells: attacks × defences × seeds, each with its config and folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from safeclip_jax.errors import UserError
from safeclip_jax.runs import config_file, settings
from safeclip_jax.runs.settings import RunSettings


@dataclass(frozen=True)
class Cell:
    """One run of the grid.

    Attributes:
      attack, defense: names in the grid's config.
      seed: of the run.
      run: its settings.
      folder: of the run.
      after: folder of the run that must be finished before, or None.
      audit: whether that run is audited and its flagged pairs are left out; else this one starts
        from its weights.
    """

    attack: str
    defense: str
    seed: int
    run: RunSettings
    folder: Path
    after: Path | None
    audit: bool = False


def of(grid: ConfigDict, folder: Path) -> list[Cell]:
    """All cells of a grid, seed by seed, so that every row has its first seed early.

    Args:
      grid: as in `configs/grid_demo.py`.
      folder: under which each cell has its own.

    Raises:
      UserError: if the grid changes a key that a run does not have, or a value is not allowed.
    """
    seeds = range(max(attack.seeds for attack in grid.attacks.values()))
    return [
        _cell(grid, folder, attack_name, defense_name, grid.first_seed + number)
        for number in seeds
        for attack_name, attack in grid.attacks.items()
        if number < attack.seeds
        for defense_name in attack.get("only", grid.defenses)
        if defense_name in grid.defenses
    ]


def _cell(grid: ConfigDict, folder: Path, attack: str, defense: str, seed: int) -> Cell:
    config = ConfigDict(grid.cell.to_dict())
    plan, place = grid.defenses[defense], folder / _as_path(attack)
    after = _first_run(plan.after, place, grid.first_seed, seed) if plan.after else None
    audit = plan.get("audit", False)
    config.seed = seed
    try:
        for changes in (grid.attacks[attack].changes, plan.changes):
            config.update(changes)
        if after is not None and audit:
            config.data.leave_out = str(after / "audit/scores.csv")
        elif after is not None:
            config.init_from = str(after)
        run = settings.of(config)
    except (KeyError, TypeError, UserError) as error:
        raise UserError(f"grid: cell {attack}, {defense}: {config_file.reason(error)}") from None
    own = place / f"{_as_path(defense)}-seed{seed}"
    return Cell(attack, defense, seed, run, own, after, audit)


def _first_run(after: str, place: Path, first_seed: int, seed: int) -> Path:
    """The run that a cell needs.

    `DEFENSE` is the run with the same attack and seed, `ATTACK/DEFENSE` the first one of
    another attack.
    """
    attack, _, defense = after.rpartition("/")
    if attack:
        return place.parent / _as_path(attack) / f"{_as_path(defense)}-seed{first_seed}"
    return place / f"{_as_path(defense)}-seed{seed}"


def _as_path(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name.lower())


def load(path: str) -> ConfigDict:
    """Reads a grid by its name or file; `UserError` if it is not one."""
    grid = config_file.read(path)
    if "attacks" not in grid or "defenses" not in grid:
        raise UserError(f"--config={path} is no grid: it names no attacks and defenses")
    return grid


def select(grid: ConfigDict, attacks: Sequence[str], defenses: Sequence[str]) -> None:
    """Leaves only the named attacks and defences, and the runs that those need."""
    for part, names in (("attacks", attacks), ("defenses", defenses)):
        for name in names:
            if name not in grid[part]:
                raise UserError(f"--{part} {name!r}: the grid has {', '.join(grid[part])}")
    defenses = list(defenses or grid.defenses)
    starts = [grid.defenses[name].after.rpartition("/") for name in defenses]
    defenses += [defense for _, _, defense in starts]
    attacks = list(attacks or grid.attacks)
    named = list(attacks)
    for attack, _, defense in starts:
        if attack and attack not in named:
            attacks.append(attack)
            grid.attacks[attack].only = (*grid.attacks[attack].get("only", ()), defense)
    for part, names in (("attacks", attacks), ("defenses", defenses)):
        for name in [name for name in grid[part] if name not in names]:
            del grid[part][name]


def limit_seeds(grid: ConfigDict, most: int) -> None:
    """Leaves at most so many seeds of each attack."""
    if most < 1:
        raise UserError(f"--seeds={most}: at least 1 is needed")
    for attack in grid.attacks.values():
        attack.seeds = min(attack.seeds, most)
