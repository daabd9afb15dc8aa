"""A run's folder: made, claimed for one config, and checked before training."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import jax
from ml_collections import ConfigDict

from safeclip_jax.distributed import sharding
from safeclip_jax.system import atomic_file
from safeclip_jax.data.sources.index import IndexCache
from safeclip_jax.errors import UserError, first_line
from safeclip_jax.distributed.watchdog import Beat, nobody

SHARED_SECONDS = 60  # until a file of one host must be seen by all
# Keys that change how fast a run is and what it keeps, and nothing that it computes.
FREE = (
    *("data.cache_gib", "data.threads", "data.workers", "profile_at", "log_every"),
    *("checkpoint_minutes", "keep_checkpoints", "keep_every_epochs"),
)


def as_json(config: ConfigDict) -> dict:
    """The config as plain JSON values."""
    return json.loads(json.dumps(config.to_dict()))


def check_writable(folder: Path) -> None:
    """Makes the folder and writes to it; `UserError` if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1024))
    except OSError as error:
        raise UserError(f"workdir {folder} cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps other runs out of the folder; the lock ends with the process, however that ends.

    A file system without locks keeps nobody out.

    Raises:
      UserError: if another process has it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if jax.process_index() == 0:
            _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"another process trains in {folder}: let it end, or choose another --workdir"
        ) from None
    except OSError:
        return


def check_config(folder: Path, config: ConfigDict, accept: Collection[str] = ()) -> list[str]:
    """Compares the config with that of the run that the folder holds, if it holds one.

    Args:
      folder: of the run.
      config: wanted now.
      accept: keys that may differ, beside those of `FREE`.

    Returns:
      The accepted differences, each as `key: there X, here Y`.

    Raises:
      UserError: if another key differs.
    """
    path = folder / "config.json"
    if not path.exists():
        return []
    try:
        there = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} cannot be read ({first_line(error)}): choose another --workdir"
        ) from None
    if not isinstance(there, dict):
        raise UserError(f"{path} is no config of a run: choose another --workdir")
    found = differences(there, as_json(config))
    refused = {key: line for key, line in found.items() if key not in {*FREE, *accept}}
    if refused:
        raise UserError(
            f"workdir {folder} holds a run with another config ({'; '.join(refused.values())}): "
            "choose another --workdir, restore these keys, or go on with "
            f"--accept={','.join(refused)}"
        )
    return list(found.values())


def claim(folder: Path, config: ConfigDict) -> None:
    """Makes the folder this run's by writing its config there.

    Raises:
      UserError: if the hosts do not share the folder.
    """
    path = folder / "config.json"
    if jax.process_index() == 0:
        atomic_file.write_text(path, json.dumps(as_json(config), indent=1) + "\n")
    exists(path)


def exists(path: Path) -> bool:
    """Whether the first host sees a file of the run; the others wait until they see it too.

    Raises:
      UserError: if another host does not come to see it.
    """
    found = bool(sharding.from_lead(path.exists()))
    deadline = time.monotonic() + SHARED_SECONDS
    while found and not path.exists():
        if time.monotonic() > deadline:
            raise UserError(f"{path} is on the first host only: all must share the run's folder")
        time.sleep(0.2)
    return found


def indices(folder: Path, beat: Beat = nobody) -> IndexCache:
    """The indices of the run's sources: the first host builds them, the others wait.

    Args:
      folder: of the run.
      beat: hears how a long build goes on.
    """
    exchange = sharding.exchange if jax.process_count() > 1 else None
    return IndexCache(folder / "index", jax.process_index() == 0, exchange, beat)


def differences(found: dict, wanted: dict, prefix: str = "") -> dict[str, str]:
    """Keys whose values differ, with `key: there X, here Y`."""
    lines: dict[str, str] = {}
    for key in sorted(found.keys() | wanted.keys()):
        there, here = found.get(key, "nothing"), wanted.get(key, "nothing")
        if isinstance(there, dict) and isinstance(here, dict):
            lines |= differences(there, here, f"{prefix}{key}.")
        elif there != here:
            name = repr(f"{prefix}{key}")[1:-1]  # the file may be damaged
            lines[name] = f"{name}: there {there!r}, here {here!r}"
    return lines
