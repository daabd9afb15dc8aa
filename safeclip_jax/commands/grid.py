"""Attacks × defences × seeds in one command: `python -m safeclip_jax.grid`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from safeclip_jax.commands import command_line
from safeclip_jax.errors import UserError
from safeclip_jax.grid import cells, report, runner
from safeclip_jax.runs import run_folder
from safeclip_jax.system import atomic_file
from safeclip_jax.training import results

_EXAMPLE = """
examples:
  python -m safeclip_jax.grid --config=configs/grid_demo.py
  python -m safeclip_jax.grid --config=configs/grid_demo.py --fast
  python -m safeclip_jax.grid --config=configs/grid_demo.py --attacks badnets --defenses CLIP

The same command goes on where it stopped: finished cells are only read, and one that was
interrupted resumes at its last checkpoint.
"""


def _parser() -> argparse.ArgumentParser:
    parser = command_line.parser(
        "grid",
        "Trains every defence under every attack, and makes one table of it.",
        _EXAMPLE,
    )
    parser.add_argument("--config", required=True, help="the grid's file")
    parser.add_argument("--folder", type=Path, help="of the runs; default: runs/NAME")
    parser.add_argument("--fast", action="store_true", help="the grid's short form")
    parser.add_argument("--attacks", nargs="+", default=[], help="only these")
    parser.add_argument("--defenses", nargs="+", default=[], help="only these")
    parser.add_argument("--seeds", type=int, help="at most so many of each attack's")
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
    grid = cells.load(arguments.config)
    if arguments.fast:
        grid.update(grid.fast)
        arguments.attacks = arguments.attacks or list(grid.fast_attacks)
    cells.select(grid, arguments.attacks, arguments.defenses)
    if arguments.seeds is not None:
        cells.limit_seeds(grid, arguments.seeds)
    name = Path(arguments.config).stem + ("_fast" if arguments.fast else "")
    folder = arguments.folder or Path("runs") / name
    run_folder.check_writable(folder)
    grid_cells = cells.of(grid, folder)
    failed = runner.run(grid_cells, *_workers(arguments.workers))
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
        print(f"error: {place}: {reason}", file=sys.stderr)
    return 1 if failed else 0


def cli() -> None:
    """Runs the command with the program's arguments."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(command_line.resumable(lambda: main(_parser().parse_args())))


if __name__ == "__main__":
    cli()
