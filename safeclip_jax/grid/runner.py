"""Runs a grid's cells in processes, one or a few cores each."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from pathlib import Path

from safeclip_jax.errors import UserError, first_line, printable
from safeclip_jax.grid import report
from safeclip_jax.grid.cells import Cell
from safeclip_jax.runs import run_folder
from safeclip_jax.system import host
from safeclip_jax.system.signals import Interrupted
from safeclip_jax.training import results


def run(grid_cells: Sequence[Cell], workers: int, threads: int) -> dict[Path, str]:
    """Runs the cells that are not finished.

    Args:
      grid_cells: a cell comes after the one that it needs.
      workers: processes at once.
      threads: cores a process may use; 0 for all.

    Returns:
      For each cell that failed, the reason by its folder.
    """
    done, failed = _finished(grid_cells)
    waiting = [cell for cell in grid_cells if cell.folder not in done | failed.keys()]
    print(f"{len(grid_cells)} cells, {len(done)} of them finished, {workers} at a time", flush=True)
    running: dict[Future[str], tuple[Cell, _Worker]] = {}
    idle = [_Worker(cores) for cores in _cores(workers, threads)]
    start, total = time.monotonic(), len(waiting)
    while waiting or running:
        for cell in [c for c in waiting if c.after in failed]:
            failed[cell.folder] = f"the run that it needs failed: {cell.after}"
            waiting.remove(cell)
        ready = [c for c in waiting if c.after is None or c.after in done]
        for cell in ready[: len(idle)]:
            waiting.remove(cell)
            worker = idle.pop()
            running[worker.start(cell)] = cell, worker
        if waiting and not running:
            cell = waiting.pop()
            failed[cell.folder] = f"the grid has no run {cell.after}, which it needs"
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


def _finished(grid_cells: Sequence[Cell]) -> tuple[set[Path], dict[Path, str]]:
    """Folders of finished cells, and of those that were run with another config."""
    done, failed = set(), {}
    for cell in grid_cells:
        if (cell.folder / "results.json").exists():
            try:
                run_folder.check_config(cell.folder, cell.run)
                done.add(cell.folder)
            except UserError as error:
                failed[cell.folder] = f"{error}, or delete it"
    return done, failed


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
    """Pins the process to its cores and sets up JAX as `main` does; it ends with the grid's."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if cores:
        os.sched_setaffinity(0, cores)
    host.set_up_jax()


def _end_with_parent() -> None:
    """A cell in progress then writes a checkpoint first."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _run_cell(cell: Cell) -> str:
    """Trains and evaluates one cell; returns the reason if it cannot be run."""
    reason = _train(cell)
    parent = parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(1)  # nobody is left who would hear the reason, or end this process
    return reason


def _train(cell: Cell) -> str:
    from safeclip_jax.training import loop

    cell.folder.mkdir(parents=True, exist_ok=True)
    with (cell.folder / "log.txt").open("a") as log, contextlib.redirect_stdout(log):
        try:
            if cell.audit and cell.after is not None:
                _audit(cell.after, Path(cell.run.data.leave_out))
            loop.run(cell.run, cell.folder)
        except (UserError, Interrupted) as error:
            return str(error)
        except Exception as error:
            traceback.print_exc(file=log)
            return f"{first_line(error)} (see {cell.folder / 'log.txt'})"
    return ""


def _audit(run: Path, scores: Path) -> None:
    """Audits a finished run, if the table of scores is not there yet."""
    from safeclip_jax import auditing

    if not scores.exists():
        auditing.write(auditing.audit(auditing.of_run(run), scores.parent), scores.parent)


def _say(cell: Cell, reason: str, ended: int, total: int, seconds: float) -> None:
    left = seconds / ended * (total - ended)
    name = f"{cell.attack}, {cell.defense}, seed {cell.seed}"
    found = reason and f"failed: {reason}"
    if not found:
        found = report.line(results.read(cell.folder / "results.json"))
    line = f"[{ended}/{total}, {left / 60:.0f} min left] {name}: {found}"
    print(printable(line), flush=True)
