"""Checkpoints of a run as files: which there are, whether they are whole, how one goes."""

from __future__ import annotations

import shutil
from pathlib import Path

from safeclip_jax.checkpoints import checksums
from safeclip_jax.system import json_text

DOOMED = "deleted-"  # begins the name of a checkpoint that is being deleted


def steps(folder: Path) -> list[int]:
    """Of the checkpoints in `checkpoints/`, unordered."""
    return [int(path.name) for path in folder.glob("*") if path.name.isdigit()]


def checksum_list(run: Path, step: int) -> Path:
    """The list of a checkpoint's checksums."""
    return run / "checksums" / f"{step}.sha256"


def damage(run: Path, step: int) -> str:
    """What is wrong with a checkpoint; empty if nothing is, or it has no checksums to compare."""
    path = checksum_list(run, step)
    return checksums.problem(path) if path.exists() else ""


def delete(run: Path, step: int) -> None:
    """Deletes a checkpoint; killed in the middle of it, none is left that looks whole."""
    path = run / "checkpoints" / str(step)
    doomed = path.with_name(f"{DOOMED}{step}")
    path.rename(doomed)
    checksum_list(run, step).unlink(missing_ok=True)
    shutil.rmtree(doomed)


def set_aside(run: Path, step: int) -> None:
    """Moves a checkpoint to `damaged/`."""
    target = run / "damaged"
    target.mkdir(exist_ok=True)
    for path in (run / "checkpoints" / str(step), checksum_list(run, step)):
        if path.exists():
            place = target / path.name
            if place.is_dir():
                shutil.rmtree(place)
            path.replace(place)


def position(folder: Path, step: int) -> dict:
    """Where a checkpoint stands; empty if it does not say."""
    try:
        found = json_text.read((folder / str(step) / "position" / "metadata").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
