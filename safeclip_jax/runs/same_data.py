"""What a run's data was when it began, so that it does not go on with other data."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path

from safeclip_jax.data.digests import Digests
from safeclip_jax.errors import UserError
from safeclip_jax.system import atomic_file, json_text

KEY, NAME = "data", "data.json"  # for `--accept`, and the file
TRAINING, EVALUATION = "training pairs", "evaluation pairs"

DigestsOf = dict[str, Digests]  # by the name of the source


def check(folder: Path, found: DigestsOf, accept: Collection[str] = ()) -> list[str]:
    """Compares the data with that of the run that the folder holds, if it holds one.

    Args:
      folder: of the run.
      found: of the data now.
      accept: what may differ; `KEY` stands for the data, but for the number of training pairs.

    Returns:
      The accepted differences.

    Raises:
      UserError: if the data differs.
    """
    differences = dict(_differences(read(folder), found))
    if differences and (KEY not in accept or "pairs" in differences):
        go_on = "" if "pairs" in differences else f", or go on with --accept={KEY}"
        raise UserError(
            f"workdir {folder} holds a run on other data ({'; '.join(differences.values())}): "
            f"restore the data or choose another --workdir{go_on}"
        )
    return list(differences.values())


def note(folder: Path, found: DigestsOf) -> None:
    """Keeps what `check` compares with."""
    atomic_file.write_text(folder / NAME, json.dumps(found, indent=1) + "\n")


def read(folder: Path) -> DigestsOf:
    """What `note` kept; nothing where it kept nothing. `UserError` if it cannot be read."""
    path = folder / NAME
    if not path.exists():
        return {}
    found = json_text.read_file(path)
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise UserError(f"{path} does not hold digests of data: restore it, or delete it")
    return found


def _differences(there: DigestsOf, here: DigestsOf) -> Iterator[tuple[str, str]]:
    """What differs: `pairs` where the training pairs are others in number, else the source."""
    for name in sorted(here.keys() & there.keys()):
        before, now = there[name], here[name]
        other = [part for part in now if before.get(part) != now[part]]
        if "pairs" in other:
            line = f"{name}: there {before.get('pairs')}, here {now['pairs']}"
            yield ("pairs" if name == TRAINING else name), line
        elif other:
            yield name, f"{name}: other {', '.join(other)}"
