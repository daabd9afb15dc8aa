"""Processes that make batches: what happens when one of them is killed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from safeclip_jax.errors import Outage, show

Item = TypeVar("Item")
PATIENCE = 10.0  # seconds that a dead process may wait to be noticed by who started it


def guarded(items: Iterable[Item], workers: int) -> Iterator[Item]:
    """What worker processes make; they start with the first item.

    A process that is killed while it works raises `Outage`. One that is killed while it starts
    would block this one for good: Python writes to a pipe that nobody will read. So that ends
    this process, with the same message and status.

    Raises:
      Outage: if a worker was killed.
    """
    problem = Outage(
        f"one of data.workers={workers} processes was killed, perhaps for want of memory: the same "
        "command goes on; fewer need less"
    )
    try:
        iterator = iter(items)
        with _births_watched(lambda: _end(problem)):
            first = next(iterator, None)
        if first is not None:
            yield first
            yield from iterator
    except RuntimeError as error:
        if "terminated unexpectedly" not in str(error):
            raise
        raise problem from None


@contextlib.contextmanager
def _births_watched(end: Callable[[], None]) -> Iterator[None]:
    """Calls `end` if, inside, a child process is dead and stays unnoticed."""
    over = threading.Event()

    def watch() -> None:
        before: int | None = None
        while not over.wait(PATIENCE / 2):
            dead = _dead_child()
            if dead is not None and dead == before:
                end()
            before = dead

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _dead_child() -> int | None:
    """A child that has ended and whose end nobody took note of."""
    with contextlib.suppress(ChildProcessError):
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return found.si_pid if found else None
    return None


def _end(problem: Outage) -> None:
    for child in multiprocessing.active_children():
        child.kill()
    show(problem)
    os._exit(problem.status)
