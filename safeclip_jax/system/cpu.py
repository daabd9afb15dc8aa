"""Settings of the host for XLA's CPU backend; to be made before JAX starts it."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8  # of malloc.h


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory for the next step instead of returning it to the system.

    XLA's CPU backend allocates the temporaries of a step anew in every call, gigabytes in one
    block. By default glibc unmaps such a block when it is freed, and the system clears the pages
    once more: a quarter of the time of a ViT-B/32 step (`benchmarks/allocator.py`). So blocks of
    any size come from one heap, which never shrinks. Has no effect where another allocator is
    preloaded, and does nothing on other systems.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
        mallopt(_M_TOP_PAD, 256 * 2**20)
        mallopt(_M_ARENA_MAX, 1)


def has_bfloat16_units() -> bool:
    """Whether this processor multiplies bfloat16 matrices by itself (AMX), by Linux's account."""
    try:
        return " amx_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def allow_many_devices(devices: int) -> None:
    """Gives XLA threads enough for several CPU devices in one process.

    A device that waits in a collective keeps its thread, and independent collectives of one
    step wait side by side: with as many threads as devices they can block each other for
    good.
    """
    if devices > 1:
        os.environ.setdefault("NPROC", str(8 * devices))
