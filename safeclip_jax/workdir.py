"""A run's folder: made, claimed for one config, and checked before training."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import jax
from ml_collections import ConfigDict

from safeclip_jax import sharding, whole_file
from safeclip_jax.errors import UserError

SHARED_SECONDS = 60  # until a file of one host must be seen by all


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


def check_config(folder: Path, config: ConfigDict) -> None:
    """Raises `UserError` if the folder holds a run with another config."""
    path = folder / "config.json"
    if not path.exists():
        return
    differing = differences(json.loads(path.read_text()), as_json(config))
    if differing:
        raise UserError(
            f"workdir {folder} holds a run with another config ({'; '.join(differing)}): "
            "choose another --workdir or restore these keys"
        )


def claim(folder: Path, config: ConfigDict) -> None:
    """Makes the folder this run's by writing its config there.

    Raises:
      UserError: if the hosts do not share the folder.
    """
    path = folder / "config.json"
    if jax.process_index() == 0:
        whole_file.write_text(path, json.dumps(as_json(config), indent=1) + "\n")
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


def differences(found: dict, wanted: dict, prefix: str = "") -> list[str]:
    """Keys whose values differ, each as `key: there X, here Y`."""
    lines = []
    for key in sorted(found.keys() | wanted.keys()):
        there, here = found.get(key, "nothing"), wanted.get(key, "nothing")
        if isinstance(there, dict) and isinstance(here, dict):
            lines += differences(there, here, f"{prefix}{key}.")
        elif there != here:
            lines.append(f"{prefix}{key}: there {there!r}, here {here!r}")
    return lines
