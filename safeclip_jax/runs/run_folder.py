"""A run's folder: made, claimed for one config, and checked before training."""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import jax

from safeclip_jax.data.sources.index import IndexCache
from safeclip_jax.distributed import sharding
from safeclip_jax.distributed.watchdog import Heartbeat, no_heartbeat
from safeclip_jax.errors import UserError, failed, first_line
from safeclip_jax.runs import settings
from safeclip_jax.runs.settings import RunSettings
from safeclip_jax.system import atomic_file, folders, json_text

SHARED_SECONDS = 60  # until a file of one host must be seen by all
# Keys that change how fast a run is and what it keeps, and nothing that it computes.
FREE = (
    *("data.cache_gib", "data.threads", "data.workers", "profile_at", "log_every"),
    *("checkpoint_minutes", "keep_checkpoints", "keep_every_epochs"),
)


_OURS = {"data", "model", "defense"}  # keys of a run's config that other programs' have not


def read(folder: Path) -> RunSettings | None:
    """The settings of a run, as its folder keeps them; None where there is no run of ours.

    Raises:
      UserError: if they cannot be read, or say what this version does not do.
    """
    path = folder / "config.json"
    if not path.is_file():
        return None
    try:
        content = json_text.read(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({first_line(error)})") from None
    if not isinstance(content, dict) or not content.keys() >= _OURS:
        return None
    try:
        return settings.read(content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def check_writable(folder: Path) -> None:
    """Makes the folder and writes to it; `UserError` or `Outage` if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1024))
    except OSError as error:
        raise failed(f"{folder} cannot be written", error) from None


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps other runs out of the folder; the lock ends with the process, however that ends.

    A file system without locks keeps nobody out.

    Raises:
      UserError: if another process has it.
    """
    if jax.process_index() != 0:
        yield
        return
    with folders.alone(folder, "trains in", "--workdir"):
        yield


def check_config(folder: Path, run: RunSettings, accept: Collection[str] = ()) -> list[str]:
    """Compares settings with those of the run that the folder holds, if it holds one.

    Args:
      folder: of the run.
      run: wanted now.
      accept: keys that may differ, beside those of `FREE`.

    Returns:
      The accepted differences, each as `key: there X, here Y`.

    Raises:
      UserError: if another key differs.
    """
    try:
        there = read(folder)
    except UserError as error:
        raise UserError(f"{error}: choose another --workdir") from None
    if there is None:
        if (folder / "config.json").exists():
            raise UserError(f"{folder}/config.json is of another program: choose another --workdir")
        if any((folder / "checkpoints").glob("[0-9]*")):
            raise UserError(
                f"{folder} has checkpoints and no config.json that says of what: restore it, or "
                "choose another --workdir"
            )
        return []
    found = _differences(settings.as_dict(there), settings.as_dict(run))
    refused = {key: line for key, line in found.items() if key not in {*FREE, *accept}}
    if refused:
        raise UserError(
            f"workdir {folder} holds a run with another config ({'; '.join(refused.values())}): "
            f"train it in a folder of its own, --workdir={_free(folder)}; or restore these keys; "
            f"or go on with --accept={','.join(refused)}"
        )
    return list(found.values())


def _free(folder: Path) -> Path:
    """A folder beside it that is not there yet."""
    names = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    return next(name for name in names if not name.exists())


def claim(folder: Path, run: RunSettings) -> None:
    """Makes the folder this run's by writing its settings there.

    Raises:
      UserError: if the hosts do not share the folder.
    """
    path = folder / "config.json"
    if jax.process_index() == 0:
        for part in (folder, folder / "pools"):
            atomic_file.forget_partial(part)
        text = json.dumps(settings.as_dict(run), indent=1, sort_keys=True)
        atomic_file.write_text(path, text + "\n")
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


def indices(folder: Path, heartbeat: Heartbeat = no_heartbeat) -> IndexCache:
    """The indices of the run's sources: the first host builds them, the others wait.

    Args:
      folder: of the run.
      heartbeat: hears how a long build goes on.
    """
    exchange = sharding.exchange if jax.process_count() > 1 else None
    return IndexCache(folder / "index", jax.process_index() == 0, exchange, heartbeat)


def _differences(there: dict, here: dict, prefix: str = "") -> dict[str, str]:
    """Keys whose values differ, with `key: there X, here Y`."""
    lines: dict[str, str] = {}
    for key in sorted(there):
        name = f"{prefix}{key}"
        if isinstance(there[key], dict):
            lines |= _differences(there[key], here[key], f"{name}.")
        elif there[key] != here[key]:
            lines[name] = f"{name}: there {there[key]!r}, here {here[key]!r}"
    return lines
