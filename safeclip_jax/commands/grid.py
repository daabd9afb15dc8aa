"""`safeclip-jax grid`: attacks × defences × seeds in one command."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from safeclip_jax.commands import command_line
from safeclip_jax.commands.command_line import Parser
from safeclip_jax.errors import UserError, show
from safeclip_jax.grid import cells, report, runner
from safeclip_jax.runs import run_folder
from safeclip_jax.system import atomic_file
from safeclip_jax.training import results

_EXAMPLES = """
--config=grid_demo
--config=grid_demo --fast
--config=grid_demo --attacks badnets --defenses CLIP SafeCLIP --config.epochs=10
"""
_MORE = """
The same command goes on where it stopped: finished cells are only read, and one that was
interrupted resumes at its last checkpoint.
"""


def _parser() -> Parser:
    made = command_line.parser(
        "grid", "Trains every defence under every attack, and makes one table.", _EXAMPLES, _MORE
    )
    add = made.add_argument
    add("--config", metavar="NAME|FILE.py", help="the grid: grid_demo, … or a file")
    add("--config.KEY", metavar="VALUE", help="changes a key of every run")
    add("--folder", type=Path, help="of the runs; default: runs/NAME")
    add("--fast", action="store_true", help="the grid's short form")
    add("--attacks", nargs="+", default=[], help="only these")
    add("--defenses", nargs="+", default=[], help="only these")
    add("--seeds", type=int, help="at most so many of each attack's")
    add("--workers", type=int, help="runs at a time; default: one a CPU core")
    return made


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


def main(argv: Sequence[str]) -> int:
    flags, given = command_line.parse(_parser(), argv)
    grid = cells.load(given.required("grid_demo"))
    given.change(grid.cell)
    if flags.fast:
        grid.update(grid.fast)
        flags.attacks = flags.attacks or list(grid.fast_attacks)
    cells.select(grid, flags.attacks, flags.defenses)
    if flags.seeds is not None:
        cells.limit_seeds(grid, flags.seeds)
    folder = flags.folder or Path("runs") / (given.name + ("_fast" if flags.fast else ""))
    run_folder.check_writable(folder)
    grid_cells = cells.of(grid, folder)
    failed = runner.run(grid_cells, *_workers(flags.workers))
    found = [
        {"attack": cell.attack, "defense_name": cell.defense, "audited": cell.audit}
        | results.read(path)
        for cell in grid_cells
        if cell.folder not in failed and (path := cell.folder / "results.json").exists()
    ]
    if found:
        report.write(folder, found, list(grid.attacks), list(grid.defenses))
        atomic_file.write_text(folder / "grid.json", json.dumps(found, indent=1) + "\n")
        print(f"tables: {folder}/grid.md, grid.csv   report: {folder}/grid.html")
    for place, reason in failed.items():
        show(f"{place}: {reason}")
    return 1 if failed else 0
