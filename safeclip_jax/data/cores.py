"""How many threads and processes read data, by the cores of this host."""

from __future__ import annotations

import os

_MANY = 8  # cores from which processes decode more than threads do
_MOST_THREADS, _MOST_WORKERS = 8, 32
# Variables in which launchers say how many processes of the run are on a host.
_ON_A_HOST = ("SLURM_NTASKS_PER_NODE", "OMPI_COMM_WORLD_LOCAL_SIZE")


def available() -> int:
    """Cores for this process: those it may use, shared with the run's others on the host."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = (os.environ.get(name, "") for name in _ON_A_HOST)
    return max(1, mine // next((int(count) for count in found if count.isdigit()), 1))


def threads(asked: int | None) -> int:
    """Batches to make at once; as asked, or one a core."""
    return min(available(), _MOST_THREADS) if asked is None else asked


def workers(asked: int | None, in_memory: bool) -> int:
    """Processes that decode; as asked, or where there are many cores half as many.

    Args:
      asked: by the user.
      in_memory: whether decoded images stay in memory, so that each is decoded once.
    """
    if asked is not None:
        return asked
    cores = available()
    return 0 if in_memory or cores < _MANY else min(cores // 2, _MOST_WORKERS)
