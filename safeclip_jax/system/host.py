"""Prepares the host for JAX: memory, threads, and a cache of compiled steps."""

from __future__ import annotations

import os
import tempfile
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
        folder = cache_folder("xla")
        jax.config.update("jax_compilation_cache_dir", None if folder is None else str(folder))


def cache_folder(name: str) -> Path | None:
    """A folder in the program's part of the user's cache, made; None if it cannot be written to."""
    home = home_folder()
    cache = os.environ.get("XDG_CACHE_HOME") or (home and home / ".cache")
    if not cache:
        return None
    folder = Path(cache) / "safeclip_jax" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return None


def home_folder() -> Path | None:
    """The user's home; None for a user that has none, as in many containers."""
    try:
        return Path.home()
    except RuntimeError:
        return None
