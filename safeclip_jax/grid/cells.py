"""A grid's file to its cells: attacks × defences × seeds, each with its config and folder."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from safeclip_jax.errors import UserError, first_line


@dataclass(frozen=True)
class Cell:
    """One run of the grid.

    Attributes:
      attack, defense: names in the grid's config.
      seed: of the run.
      config: of the run.
      folder: of the run.
      after: folder of the run whose weights this one starts from, or None.
    """

    attack: str
    defense: str
    seed: int
    config: ConfigDict
    folder: Path
    after: Path | None


def of(grid: ConfigDict, folder: Path) -> list[Cell]:
    """All cells of a grid, seed by seed, so that every row has its first seed early.

    Args:
      grid: as in `configs/grid_demo.py`.
      folder: under which each cell has its own.

    Raises:
      UserError: if the grid changes a key that a run does not have.
    """
    found = []
    for seed in range(max(attack.seeds for attack in grid.attacks.values())):
        for attack_name, attack in grid.attacks.items():
            if seed >= attack.seeds:
                continue
            place = folder / _as_path(attack_name)
            for defense_name, defense in grid.defenses.items():
                config = ConfigDict(grid.cell.to_dict())
                config.seed = grid.first_seed + seed
                after = None
                for changes in (attack.changes, defense.changes):
                    _change(config, changes, f"{attack_name}, {defense_name}")
                if defense.after:
                    after = _first_run(defense.after, place, grid.first_seed, config.seed)
                    config.init_from = str(after)
                cell_folder = place / f"{_as_path(defense_name)}-seed{config.seed}"
                found.append(
                    Cell(attack_name, defense_name, config.seed, config, cell_folder, after)
                )
    return found


def _first_run(after: str, place: Path, first_seed: int, seed: int) -> Path:
    """The run that a cell starts from.

    `DEFENSE` is the run with the same attack and seed, `ATTACK/DEFENSE` the first one of
    another attack.
    """
    attack, _, defense = after.rpartition("/")
    if attack:
        return place.parent / _as_path(attack) / f"{_as_path(defense)}-seed{first_seed}"
    return place / f"{_as_path(defense)}-seed{seed}"


def _change(config: ConfigDict, changes: ConfigDict, where: str) -> None:
    for key, value in changes.items():
        try:
            if isinstance(value, ConfigDict):
                _change(config[key], value, where)
            elif key in config:
                config[key] = value
            else:
                raise KeyError(key)
        except (KeyError, TypeError) as error:
            raise UserError(f"grid: cell {where}: key {key!r}: {first_line(error)}") from None


def _as_path(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name.lower())


def load(path: str) -> ConfigDict:
    """Reads a grid's file; `UserError` if it is not one."""
    file = Path(path)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if not file.exists() or spec is None or spec.loader is None:
        raise UserError(f"--config={path} is no file.py: try configs/grid_demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    grid = module.get_config()
    if "attacks" not in grid or "defenses" not in grid:
        raise UserError(f"--config={path} is no grid: it names no attacks and defenses")
    return grid


def select(grid: ConfigDict, attacks: Sequence[str], defenses: Sequence[str]) -> None:
    """Leaves only the named attacks and defences, and what those start from."""
    for part, names in (("attacks", attacks), ("defenses", defenses)):
        for name in names:
            if name not in grid[part]:
                raise UserError(f"--{part} {name!r}: the grid has {', '.join(grid[part])}")
    defenses = list(defenses or grid.defenses)
    starts = [grid.defenses[name].after.rpartition("/") for name in defenses]
    defenses += [defense for _, _, defense in starts]
    attacks = list(attacks or grid.attacks) + [attack for attack, _, _ in starts]
    for part, names in (("attacks", attacks), ("defenses", defenses)):
        for name in [name for name in grid[part] if name not in names]:
            del grid[part][name]
