"""Prepares the host for JAX: memory, threads, and a cache of compiled steps."""

from __future__ import annotations

import os
from pathlib import Path

from safeclip_jax.system import cpu


def set_up_jax() -> None:
    """Prepares the host for JAX, and keeps compiled steps in the user's cache.

    Not with several CPU devices: there a step from the cache may run its collectives in
    another order on each device, and hang.
    """
    import jax
    from absl import flags

    cpu.keep_freed_memory()
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # Grain's worker processes read its own
    cpu_devices = jax.config.values["jax_num_cpu_devices"]
    cpu.allow_many_devices(cpu_devices)
    if cpu_devices <= 1 and not jax.config.values["jax_compilation_cache_dir"]:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))


def cache_folder() -> Path:
    """The program's folder in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "safeclip_jax"
