"""Attacks × defences × seeds in one command: `python -m safeclip_jax.grid`."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import sys
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from ml_collections import ConfigDict

from safeclip_jax import grid_report, results, workdir
from safeclip_jax.errors import UserError, first_line

_EXAMPLE = """
examples:
  python -m safeclip_jax.grid --config=configs/grid_demo.py
  python -m safeclip_jax.grid --config=configs/grid_demo.py --fast
  python -m safeclip_jax.grid --config=configs/grid_demo.py --attacks badnets --defenses CLIP

The same command goes on where it stopped: finished cells are only read, and one that was
interrupted resumes at its last checkpoint.
"""


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


def cells(grid: ConfigDict, folder: Path) -> list[Cell]:
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


def run(grid_cells: Sequence[Cell], workers: int, threads: int) -> dict[Path, str]:
    """Runs the cells that are not finished.

    Args:
      grid_cells: a cell comes after the one that it starts from.
      workers: processes at once.
      threads: cores a process may use; 0 for all.

    Returns:
      For each cell that failed, the reason by its folder.
    """
    done = {cell.folder for cell in grid_cells if (cell.folder / "results.json").exists()}
    waiting = [cell for cell in grid_cells if cell.folder not in done]
    print(f"{len(grid_cells)} cells, {len(done)} of them finished, {workers} at a time", flush=True)
    failed: dict[Path, str] = {}
    running: dict[Future[str], tuple[Cell, _Worker]] = {}
    idle = [_Worker(cores) for cores in _cores(workers, threads)]
    start, total = time.monotonic(), len(waiting)
    while waiting or running:
        for cell in [c for c in waiting if c.after in failed]:
            failed[cell.folder] = f"the run that it starts from failed: {cell.after}"
            waiting.remove(cell)
        ready = [c for c in waiting if c.after is None or c.after in done]
        for cell in ready[: len(idle)]:
            waiting.remove(cell)
            worker = idle.pop()
            running[worker.start(cell)] = cell, worker
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            cell, worker = running.pop(future)
            reason = worker.outcome(future)
            idle.append(worker)
            if reason:
                failed[cell.folder] = reason
            else:
                done.add(cell.folder)
            ended = total - len(waiting) - len(running)
            _say(cell, reason, ended, total, time.monotonic() - start)
    for worker in idle:
        worker.stop()
    return failed


def _cores(workers: int, threads: int) -> list[list[int]]:
    """The cores of each worker; empty for no choice."""
    mine = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if not threads or workers * threads > len(mine):
        return [[] for _ in range(workers)]
    return [mine[worker * threads : (worker + 1) * threads] for worker in range(workers)]


class _Worker:
    """One process that runs cell after cell; if it dies, the next cell gets a new one."""

    def __init__(self, cores: list[int]):
        self._cores = cores
        self._pool = self._new()

    def _new(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            1, get_context("spawn"), initializer=_start_worker, initargs=(self._cores,)
        )

    def start(self, cell: Cell) -> Future[str]:
        return self._pool.submit(_run_cell, cell)

    def outcome(self, future: Future[str]) -> str:
        """Why the cell failed; empty if it did not."""
        try:
            return future.result()
        except BrokenProcessPool:
            self._pool = self._new()
            return "its process died (out of memory?)"

    def stop(self) -> None:
        self._pool.shutdown()


def _start_worker(cores: list[int]) -> None:
    """Pins the process to its cores and sets up JAX as `main` does."""
    if cores:
        os.sched_setaffinity(0, cores)
    from safeclip_jax import command_line, cpu

    cpu.keep_freed_memory()
    command_line.set_up_jax()


def _run_cell(cell: Cell) -> str:
    """Trains and evaluates one cell; returns the reason if it cannot be run."""
    from safeclip_jax import train

    cell.folder.mkdir(parents=True, exist_ok=True)
    with (cell.folder / "log.txt").open("a") as log, contextlib.redirect_stdout(log):
        try:
            train.run(cell.config, cell.folder)
        except (UserError, train.Interrupted) as error:
            return str(error)
        except Exception as error:
            traceback.print_exc(file=log)
            return f"{first_line(error)} (see {cell.folder / 'log.txt'})"
    return ""


def _say(cell: Cell, reason: str, ended: int, total: int, seconds: float) -> None:
    left = seconds / ended * (total - ended)
    name = f"{cell.attack}, {cell.defense}, seed {cell.seed}"
    found = reason and f"failed: {reason}"
    if not found:
        found = grid_report.line(results.read(cell.folder / "results.json"))
    print(f"[{ended}/{total}, {left / 60:.0f} min left] {name}: {found}", flush=True)


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m safeclip_jax.grid",
        description="Trains every defence under every attack, and makes one table of it.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", required=True, help="the grid's file")
    parser.add_argument("--folder", type=Path, help="of the runs; default: runs/NAME")
    parser.add_argument("--fast", action="store_true", help="the grid's short form")
    parser.add_argument("--attacks", nargs="+", default=[], help="only these")
    parser.add_argument("--defenses", nargs="+", default=[], help="only these")
    parser.add_argument("--workers", type=int, help="runs at a time; default: one a CPU core")
    return parser


def _workers(asked: int | None) -> tuple[int, int]:
    """Processes at a time and cores for each (0: any); with accelerators, one process."""
    import jax

    if asked is not None and asked < 1:
        raise UserError(f"--workers={asked}: at least 1 is needed")
    if jax.default_backend() != "cpu":
        return asked or 1, 0
    cores = os.cpu_count() or 1
    workers = asked or cores
    return workers, max(1, cores // workers)


def main(arguments: argparse.Namespace) -> int:
    grid = load(arguments.config)
    if arguments.fast:
        grid.update(grid.fast)
        arguments.attacks = arguments.attacks or list(grid.fast_attacks)
    select(grid, arguments.attacks, arguments.defenses)
    name = Path(arguments.config).stem + ("_fast" if arguments.fast else "")
    folder = arguments.folder or Path("runs") / name
    workdir.check_writable(folder)
    grid_cells = cells(grid, folder)
    failed = run(grid_cells, *_workers(arguments.workers))
    found = [
        {"attack": cell.attack, "defense_name": cell.defense, **results.read(path)}
        for cell in grid_cells
        if (path := cell.folder / "results.json").exists()
    ]
    if found:
        grid_report.write(folder, found, list(grid.attacks), list(grid.defenses))
        (folder / "grid.json").write_text(json.dumps(found, indent=1) + "\n")
        print(f"tables: {folder}/grid.md, grid.csv   report: {folder}/grid.html")
    for place, reason in failed.items():
        print(f"error: {place}: {reason}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        sys.exit(main(_parser().parse_args()))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
